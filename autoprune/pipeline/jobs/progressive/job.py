"""Progressive pruning with hardware feedback: a little is pruned, the network is measured on its target, and so on.

NetAdapt (Yang et al., ECCV 2018, Algorithm 1) decides what goes in a step. Where this differs from the paper:
proposals are compared before their short fine-tuning, with BatchNorm re-estimated, and only the winner is trained;
every winner is measured end to end and refines the latency table, where the paper trusts its look-up tables; a step
that measures too slow shrinks further; and a step is never less than a quarter of the first (`netadapt_steps`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autoprune.criteria.registry import criterion_of
from autoprune.errors import InputError, Stopped
from autoprune.pipeline.finish.deliver import (
    VERIFICATIONS,
    Finished,
    budget_missed,
    deliver,
    verify,
)
from autoprune.pipeline.finish.fine_tuning import FineTuning
from autoprune.pipeline.finish.keeping import fine_tuned
from autoprune.pipeline.finish.lengths import final_epochs, final_seeds
from autoprune.pipeline.finish.so_far import keep_network
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.lifecycle import check_target
from autoprune.pipeline.jobs.progressive.device_watch import Watch
from autoprune.pipeline.jobs.progressive.steps import ProgressiveSearch
from autoprune.pipeline.jobs.search import prepare, timed
from autoprune.pipeline.jobs.settings import OF_PROGRESSIVE, PROGRESSIVE
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.finalists import uniform_within
from autoprune.pipeline.task import Task, require_trainable
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import STRUCTURED
from autoprune.training import count_batches

__all__ = ["ProgressiveJob"]


class ProgressiveJob(Job):
    """Prune step by step until the network meets the budget as measured, fine-tune it, verify it, write it all down."""

    name = PROGRESSIVE
    settings = OF_PROGRESSIVE

    def check(self, experiment: Experiment) -> None:
        """Budget and target must be there; a loss of accuracy is no budget here."""
        if experiment.accuracy_drop is not None:
            raise InputError("progressive pruning goes to a budget; for --accuracy-drop use autoprune compress")
        if experiment.technique_names != (STRUCTURED,):
            raise InputError(
                f"progressive pruning takes widths and branches only, not --techniques {experiment.techniques}"
            )
        if len(experiment.requested_budgets) > 1:
            raise InputError("progressive pruning goes to one budget; for several use autoprune compress")
        criterion_of(experiment.criterion)
        check_target(experiment)

    def run(self, task: Task, run: RunDir, reporter: Reporter) -> Result:
        """Take steps until a finished network meets the budget.

        Raises:
            BudgetError: If the budget cannot be met; the least reachable cost is named.
        """
        experiment = run.experiment
        if experiment.finetune_epochs or experiment.step_epochs or experiment.step_batches:
            require_trainable(task)
        reporter = timed(run, reporter)
        problem = prepare(task, run, reporter, metered=True)
        search = ProgressiveSearch(problem, reporter, Watch(reporter, problem.target.sensors()))
        # Counts are exact, and a measured energy has its margin already.
        goal = problem.margins.finalist if problem.metric.timed else 1.0
        with search.writer, _kept_if_stopped(search):
            for attempt in range(VERIFICATIONS):
                search.until(goal)
                finished, epochs = _finish(search, attempt)
                if finished.verdict.met:
                    return deliver(finished, PROGRESSIVE, reporter, progressive=_history(search, epochs))
                over = finished.verdict.over
                reporter.say(f"the fine-tuned network takes {over:.1%} of the budget as measured; it is pruned further")
                goal = problem.margins.retry * min(goal, search.over) / over
        raise budget_missed(problem, VERIFICATIONS, finished.verdict)


@contextmanager
def _kept_if_stopped(search: ProgressiveSearch) -> Iterator[None]:
    """Around the steps: where a time limit or a callback ends them, the network of the last one is kept."""
    try:
        yield
    except Stopped:
        if search.taken:
            at = search.at
            keep_network(at.ranked(search.problem), at.choices, at.network, PROGRESSIVE)
        raise


def _finish(search: ProgressiveSearch, attempt: int) -> tuple[Finished, tuple[int, int]]:
    """The long fine-tuning of the network, of the uniform baseline for as many epochs in all, and the last timing.

    Returns:
        The finished networks; epochs of the last fine-tuning, and of all fine-tunings.
    """
    problem, reporter, at = search.problem, search.reporter, search.at
    epochs = final_epochs(problem.experiment, problem.task.data)
    seeds = final_seeds(problem.experiment, epochs)
    own = [FineTuning(at.choices, epochs, s, start=at.network) for s in seeds]
    kept = [fine_tuned(problem, each, reporter, f"fine-tuning, seed {each.seed}") for each in own]
    with reporter.stage("verify", "measuring the uniform baseline") as bar:
        uniform = uniform_within(problem, progress=bar)
    total = epochs + _step_epochs(problem, search.taken - 1)
    what = f"fine-tuning the uniform baseline for {total} epochs"
    theirs = [] if uniform is None else [FineTuning(uniform, total, s) for s in seeds]
    baseline = [fine_tuned(problem, each, reporter, f"{what}, seed {each.seed}").network for each in theirs]
    ranked = at.ranked(problem)
    timings, verdict = verify(ranked, at.choices, kept[0].network, baseline[:1], attempt, reporter)
    return Finished(ranked, at.choices, kept, uniform, baseline, timings, verdict), (epochs, total)


def _step_epochs(problem: Problem, steps: int) -> int:
    """Epochs that all steps together were fine-tuned for, rounded up."""
    experiment, train = problem.experiment, problem.task.data.train
    if experiment.step_batches is None:
        return steps * experiment.step_epochs
    batches = count_batches(train)
    return math.ceil(steps * min(experiment.step_batches, batches) / batches)


def _history(search: ProgressiveSearch, epochs: tuple[int, int]) -> dict[str, Any]:
    """How the network came about, for the report."""
    rows = search.rows[: search.taken]
    return {
        "steps": search.taken - 1,
        "proposals": sum(int(row["proposals"]) for row in rows),
        "finetune_epochs": epochs[0],
        "all_epochs": epochs[1],
        "paused_steps": [row["step"] for row in rows if row["throttled"]],
    }
