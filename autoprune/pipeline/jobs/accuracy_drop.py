"""The fastest network that loses no more than so much accuracy: a bisection over latency budgets.

A network's accuracy is known only after fine-tuning, so every step is a whole job under one latency budget, a run of
its own below the run. The steps share the dense weights and the latency table, and divide the episodes. What decides is
the accuracy on the search split; the test split is touched once, for the network that is chosen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autoprune.errors import BudgetError
from autoprune.foundations.files import replacing, write_json
from autoprune.pipeline.jobs.compress import compress_job
from autoprune.pipeline.jobs.lifecycle import Result, opened_run
from autoprune.pipeline.reporter import Talk
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment

__all__ = ["STEPS", "accuracy_drop_job"]

STEPS = 5  # jobs; the answer is within 100 % / 2**5 of the dense latency

_TAKEN_OVER = (
    "policy.json",
    "episodes.jsonl",
    "latency_table.json",
    "dense.safetensors",
    "pruned.safetensors",
    "finetuned.safetensors",
)


def accuracy_drop_job(experiment: Experiment, run: RunDir, talk: Talk, load: Callable[[Experiment], Task]) -> Result:
    """Find the least latency budget whose network loses no more than `experiment.accuracy_drop` points.

    Args:
        experiment: With `accuracy_drop` in percentage points, on the search split.
        run: Its folder; the steps are runs below `steps/`.
        talk: Who watches.
        load: Makes a fresh task for a step.

    Raises:
        BudgetError: If no faster network loses so little.
    """
    drop = float(experiment.accuracy_drop or 0.0)
    low, high = 0, 100
    for _ in range(STEPS):
        share = (low + high) // 2
        outcome = run.once(f"step {share}", lambda share=share: _step(experiment, run, share, talk, load))  # type: ignore[misc]
        run.stands()
        kept = outcome["score"] is not None and outcome["score"] >= outcome["dense"] - drop / 100
        talk.say(f"latency {share}%: {_told(outcome)}, {'within' if kept else 'not within'} {drop:g} points")
        low, high = (low, share) if kept else (share, high)
    if high == 100:
        raise BudgetError(
            f"no network of at most {low}% of the dense latency loses as little as {drop:g} points on the search split;"
            " allow a larger drop, or more --finetune-epochs"
        )
    return _finish(experiment, run, high, talk, load)


def _told(outcome: dict[str, Any]) -> str:
    if outcome["score"] is None:
        return str(outcome["reason"])
    return f"{outcome['score']:.2%} on the search split against {outcome['dense']:.2%}"


def _seconds(run: RunDir, chosen: int, last: Mapping[str, float]) -> dict[str, float]:
    """Seconds by stage of all steps together; those of the chosen one as its last report has them."""
    total = dict(last)
    for share in range(1, 100):
        outcome = run.noted(f"step {share}") if share != chosen else None
        for stage, seconds in ((outcome or {}).get("seconds") or {}).items():
            total[stage] = round(total.get(stage, 0.0) + seconds, 3)
    return total


def _experiment(experiment: Experiment, run: RunDir, share: int) -> Experiment:
    """The settings of one step."""
    episodes = max(1, experiment.episodes // STEPS)
    warmup = None if experiment.warmup is None else min(experiment.warmup, episodes)
    folder = str(run.file(f"steps/latency-{share}"))
    return experiment.replace(
        accuracy_drop=None,
        latency=f"{share}%",
        episodes=episodes,
        warmup=warmup,
        run=folder if "/" in folder else f"./{folder}",
    )


def _like(run: RunDir) -> Path | None:
    """What has dense weights to take over: an earlier step, or the run itself where it took them from another."""
    done = [*sorted(run.path.glob("steps/*/dense.safetensors")), *run.path.glob("dense.safetensors")]
    return done[0].parent if done else None


def _step(
    experiment: Experiment, run: RunDir, share: int, talk: Talk, load: Callable[[Experiment], Task]
) -> dict[str, Any]:
    """One job, whose report's accuracies are those on the search split."""
    step = _experiment(experiment, run, share)
    with talk.stage("load", f"loading the network and its data for latency {share}%"):
        task = load(step)
    task.data = dataclasses.replace(task.data, test=task.data.search)
    try:
        with opened_run(step, resume=True, like=_like(run)) as opened:
            report = compress_job(task, opened, talk).report
    except BudgetError as error:
        return {"score": None, "dense": None, "reason": str(error), "seconds": talk.seconds}
    scores = {"score": report["finetuned"]["accuracy"], "dense": report["dense"]["accuracy"]}
    return {**scores, "reason": None, "seconds": report["seconds"]}


def _finish(experiment: Experiment, run: RunDir, share: int, talk: Talk, load: Callable[[Experiment], Task]) -> Result:
    """Report on the step that is chosen once more, now on the test split; everything it did is read back."""
    step = _experiment(experiment, run, share)
    outcome = run.noted(f"step {share}")
    with opened_run(step, resume=True) as opened:
        result = compress_job(load(step), opened, talk)
        for name in _TAKEN_OVER:
            with replacing(run.file(name)) as temporary:
                temporary.write_bytes(opened.file(name).read_bytes())
    budget = {
        "kind": "accuracy_drop",
        "requested": f"{experiment.accuracy_drop:g}",
        "limit": outcome["dense"] - float(experiment.accuracy_drop or 0.0) / 100,
        "measured": outcome["score"],
        "met": True,
        "latency": result.report["budget"],
    }
    report = {**result.report, "budget": budget, "seconds": _seconds(run, share, result.report["seconds"])}
    write_json(run.file("report.json"), report)
    return Result(result.model, result.policy, report, run.path)
