"""The fastest network that loses no more than so much accuracy: a bisection over latency budgets.

A network's accuracy is known only after fine-tuning, so every step is a whole job under one latency budget, a run of
its own below the run. The steps share the dense weights and the latency table, and divide the episodes. What decides is
the accuracy on the search split; the test split is touched once, for the network that is chosen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.errors import BudgetError
from autoprune.foundations.files import replacing, write_json
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.compress import CompressJob
from autoprune.pipeline.jobs.lifecycle import check_settings, opened_run
from autoprune.pipeline.jobs.settings import OF_SEARCH
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.run.report import Outcome, Report
from autoprune.run.score import ScoreSpec
from autoprune.run.stopwatch import seconds_of
from autoprune.space import Policy

__all__ = ["STEPS", "AccuracyDropJob"]

STEPS = 5  # jobs; the answer is within 100 % / 2**5 of the dense latency

_TAKEN_OVER = (
    "episodes.jsonl",
    "latency_table.json",
    "dense.safetensors",
    "pruned.safetensors",
    "finetuned.safetensors",
)


class AccuracyDropJob(Job):
    """Find the least latency budget whose network loses no more than `accuracy_drop` points on the search split.

    The steps are runs below the run's `steps/`.
    """

    name = "accuracy-drop"
    settings = OF_SEARCH

    def check(self, experiment: Experiment) -> None:
        """Agent and target must be there."""
        check_settings(experiment)

    def run(self, task: Task, run: RunDir, reporter: Reporter) -> Result:
        """Halve the range of latency budgets that may be the answer, a whole job at a time.

        Raises:
            BudgetError: If no faster network loses so little.
        """
        drop, spec = float(run.experiment.accuracy_drop or 0.0), task.scored_as
        low, high = 0, 100
        for _ in range(STEPS):
            share = (low + high) // 2
            outcome = run.once(f"step {share}", lambda share=share: _step(task, run, share, reporter))  # type: ignore[misc]
            run.mark_started()
            least = spec.least(outcome["dense"], drop) if outcome["score"] is not None else None
            kept = least is not None and spec.merit(outcome["score"]) >= spec.merit(least)
            within = f"{'within' if kept else 'not within'} {spec.drop_text(drop)}"
            reporter.say(f"latency {share}%: {_told(outcome, spec)}, {within}")
            low, high = (low, share) if kept else (share, high)
        if high == 100:
            raise BudgetError(
                f"no network of at most {low}% of the dense latency loses as little as {spec.drop_text(drop)} on the"
                " search split; allow a larger drop, or more --finetune-epochs"
            )
        return _finish(task, run, high, reporter)


def _told(outcome: dict[str, Any], spec: ScoreSpec) -> str:
    if outcome["score"] is None:
        return str(outcome["reason"])
    return f"{spec.text(outcome['score'])} on the search split against {spec.text(outcome['dense'])}"


def _seconds(run: RunDir, chosen: int, last: Mapping[str, float]) -> dict[str, float]:
    """Seconds by stage of all steps together; those of the chosen one as its last report has them."""
    total = dict(last)
    for share in range(1, 100):
        outcome = run.recall(f"step {share}") if share != chosen else None
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


def _step(task: Task, run: RunDir, share: int, reporter: Reporter) -> dict[str, Any]:
    """One job, whose report's scores are those on the search split."""
    step = _experiment(run.experiment, run, share)
    with reporter.stage("load", f"loading the network and its data for latency {share}%"):
        fresh = task.fresh()
    fresh.data = dataclasses.replace(fresh.data, test=fresh.data.search)
    with opened_run(step, resume=True, like=_like(run)) as opened:
        try:
            report = CompressJob().run(fresh, opened, reporter).report
        except BudgetError as error:
            opened.discard()
            return {"score": None, "dense": None, "reason": str(error), "seconds": seconds_of(opened)}
    key = task.scored_as.key
    scores = {"score": report["finetuned"][key], "dense": report["dense"][key]}
    return {**scores, "reason": None, "seconds": report["seconds"]}


def _finish(task: Task, run: RunDir, share: int, reporter: Reporter) -> Result:
    """Report on the step that is chosen once more, now on the test split; everything it did is read back."""
    drop, spec = float(run.experiment.accuracy_drop or 0.0), task.scored_as
    step = _experiment(run.experiment, run, share)
    outcome = run.recall(f"step {share}")
    with opened_run(step, resume=True) as opened:
        result = CompressJob().run(task.fresh(), opened, reporter)
        Policy.load(opened.file("policy.json")).save(run.file("policy.json"))  # with its masks, if these lie beside it
        for name in _TAKEN_OVER:
            with replacing(run.file(name)) as temporary:
                temporary.write_bytes(opened.file(name).read_bytes())
    inner = Report.of(result.report)
    budget = Outcome(
        kind="accuracy_drop",
        requested=f"{drop:g}",
        limit=spec.least(outcome["dense"], drop),
        measured=outcome["score"],
        met=True,
        latency=inner.budget,
    )
    seconds = _seconds(run, share, result.report["seconds"])
    report = inner.model_copy(update={"budget": budget, "seconds": seconds}).to_json()
    write_json(run.file("report.json"), report)
    return Result(result.model, result.policy, report, run.path)
