"""Progressive pruning with hardware feedback: a little is pruned, the network is measured on its target, and so on.

NetAdapt (Yang et al., ECCV 2018, Algorithm 1) decides what goes in a step. Where this differs from the paper:
proposals are compared before their short fine-tuning, with BatchNorm re-estimated, and only the winner is trained;
every winner is measured end to end and refines the latency table, where the paper trusts its look-up tables; a step
that measures too slow shrinks further; and a step is never less than a quarter of the first (`netadapt_steps`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from autoprune.errors import InputError
from autoprune.foundations.files import write_json
from autoprune.models import save_weights
from autoprune.pipeline.finish.fine_tuning import fine_tune
from autoprune.pipeline.finish.report import Entry, make_report
from autoprune.pipeline.jobs.compress import (
    VERIFICATIONS,
    budget_missed,
    delivered,
    final_epochs,
    final_timing,
    measured_figures,
    prepare,
)
from autoprune.pipeline.jobs.lifecycle import Result, check_settings
from autoprune.pipeline.jobs.progressive.current import Carried, using_order
from autoprune.pipeline.jobs.progressive.device_watch import Watch
from autoprune.pipeline.jobs.progressive.steps import Walk
from autoprune.pipeline.problem import MARGIN, Problem
from autoprune.pipeline.reporter import Talk
from autoprune.pipeline.search.finalists import uniform_within
from autoprune.pipeline.search.sessions import Timing
from autoprune.pipeline.task import Task, require_trainable
from autoprune.run.directory import RunDir
from autoprune.run.experiment import PROGRESSIVE, Experiment
from autoprune.training import count_batches

__all__ = ["check_progressive", "progressive_job"]


def check_progressive(experiment: Experiment) -> None:
    """Refuse, before anything is written, what can be told from the settings alone.

    Raises:
        InputError: If it asks for no budget but a loss of accuracy, or a setting cannot be what is meant.
        TargetError: If the target is not available on this machine.
    """
    if experiment.accuracy_drop is not None:
        raise InputError("progressive pruning goes to a budget; for --accuracy-drop use autoprune compress")
    check_settings(experiment.replace(agent="uniform"))  # no agent searches; all else is as for the other commands


@dataclass(frozen=True)
class _Final:
    """The finished networks, the baseline's, and what the target said about them."""

    at: Carried
    networks: list[nn.Module]
    uniform: dict[str, int] | None
    uniform_networks: list[nn.Module]
    timings: dict[str, Timing]
    measured: float
    limit: float
    epochs: int
    baseline_epochs: int


def progressive_job(task: Task, run: RunDir, talk: Talk) -> Result:
    """Prune step by step until the network meets the budget as measured, fine-tune it, verify it, write it all down.

    Args:
        task: The network, its data, its score.
        run: The run's folder; goes on where it stopped.
        talk: Who watches.

    Raises:
        BudgetError: If the budget cannot be met; the least reachable cost is named.
    """
    experiment = run.experiment
    if experiment.finetune_epochs or experiment.step_epochs or experiment.step_batches:
        require_trainable(task)
    problem = prepare(task, run, talk)
    walk = Walk(problem, talk, Watch(talk, problem.target.sensors()))
    # Counts are exact, and a measured energy has its margin already.
    goal = MARGIN if problem.budget.kind == "latency" else 1.0
    with walk.writer:
        for attempt in range(VERIFICATIONS):
            walk.until(goal)
            final = _hand_over(walk, attempt)
            if final.measured <= final.limit:
                return _finish(walk, final)
            over = final.measured / final.limit
            talk.say(f"the fine-tuned network takes {over:.1%} of the budget as measured; it is pruned further")
            goal = 0.995 * min(goal, walk.over) / over
    raise budget_missed(problem, VERIFICATIONS, final.measured, final.limit)


def _hand_over(walk: Walk, attempt: int) -> _Final:
    """The long fine-tuning of the network, of the uniform baseline for as many epochs in all, and the last timing."""
    problem, talk, experiment, at = walk.problem, walk.talk, walk.experiment, walk.at
    epochs = final_epochs(problem)
    seeds = range(experiment.seed, experiment.seed + (experiment.finetune_seeds if epochs else 1))
    networks = [
        fine_tune(problem, at.choices, epochs, s, talk, f"fine-tuning, seed {s}", start=at.network) for s in seeds
    ]
    with talk.stage("verify", "measuring the uniform baseline"):
        uniform = uniform_within(problem)
    total = epochs + _step_epochs(problem, walk.taken - 1)
    what = f"fine-tuning the uniform baseline for {total} epochs"
    tuned: list[nn.Module] = []
    if uniform is not None:
        tuned = [fine_tune(problem, uniform, total, s, talk, f"{what}, seed {s}") for s in seeds]
    with using_order(problem, at.order):
        timings, measured, limit = final_timing(problem, at.choices, networks[0], tuned[:1], attempt, talk)
    return _Final(at, networks, uniform, tuned, timings, measured, limit, epochs, total)


def _step_epochs(problem: Problem, steps: int) -> int:
    """Epochs that all steps together were fine-tuned for, rounded up."""
    experiment, train = problem.experiment, problem.task.data.train
    if experiment.step_batches is None:
        return steps * experiment.step_epochs
    batches = count_batches(train)
    return math.ceil(steps * min(experiment.step_batches, batches) / batches)


def _finish(walk: Walk, final: _Final) -> Result:
    """Touch the test split once, write policy, weights and the report."""
    problem, run, talk, choices = walk.problem, walk.run, walk.talk, final.at.choices
    with using_order(problem, final.at.order):
        raw = problem.small(choices)
        policy = problem.policy(choices, PROGRESSIVE)
    with talk.stage("test", "scoring on the test split"):
        entries = {
            "dense": Entry(None, [problem.task.model], final.timings["dense"]),
            "pruned": Entry(choices, [raw], final.timings["pruned"]),
            "finetuned": Entry(choices, final.networks, final.timings["finetuned"]),
        }
        if final.uniform is not None:
            entries["uniform"] = Entry(final.uniform, final.uniform_networks, final.timings["uniform"])
        report = make_report(problem, entries, final.measured, final.limit)
    report |= {
        "agent": PROGRESSIVE,
        "progressive": _told(walk, final),
        "seconds": {name: round(seconds, 3) for name, seconds in talk.seconds.items()},
    }
    policy = policy.model_copy(update={"measured": measured_figures(report)})
    policy.save(run.file("policy.json"))
    save_weights(raw.state_dict(), run.file("pruned.safetensors"))
    save_weights(final.networks[0].state_dict(), run.file("finetuned.safetensors"))
    write_json(run.file("report.json"), report)
    return Result(delivered(problem, final.networks[0], choices), policy, report, run.path)


def _told(walk: Walk, final: _Final) -> dict[str, Any]:
    """How the network came about, for the report."""
    return {
        "steps": walk.taken - 1,
        "proposals": sum(int(row["proposals"]) for row in walk.rows[: walk.taken]),
        "finetune_epochs": final.epochs,
        "all_epochs": final.baseline_epochs,
        "paused_steps": [row["step"] for row in walk.rows[: walk.taken] if row["throttled"]],
    }
