"""Types, ranges and float32 layers: the fastest way of quantizing that loses no more than the tolerance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autoprune.pipeline.jobs.quantize.trials import Trial, Workbench
from autoprune.pipeline.reporter import Reporter
from autoprune.quantization.ranges import RANGES
from autoprune.quantization.scheme import Scheme

__all__ = ["LEAST_GAIN", "Choice", "chosen", "first_method", "is_within"]

LEAST_GAIN = 0.02
"""Share of the float32 latency below which another number format counts as not faster."""

_EQUALLY_FAST = 0.02
"""Share of a latency within which types count as equally fast."""


def is_within(bench: Workbench, score: float, float_score: float) -> bool:
    """Whether a score loses no more than the tolerance; one that is not accuracy by its own size."""
    spec = bench.task.scored_as
    unit = 1.0 if spec.is_accuracy else abs(float_score)
    lost = spec.merit(float_score) - spec.merit(score)
    return lost <= bench.run.experiment.tolerance / 100 * unit + 1e-12


@dataclass(frozen=True)
class Choice:
    """What was chosen, and out of what.

    Attributes:
        trial: The chosen one; the best there is where none is within the tolerance.
        within: Whether it loses no more than the tolerance on the search split.
        types: Every one that was timed.
        tried: All others, in order.
        float_score: Of the network before, on the search split.
        float_ms: Its latency beside `types`.
    """

    trial: Trial
    within: bool
    types: tuple[Trial, ...]
    tried: tuple[Trial, ...]
    float_score: float
    float_ms: float


def first_method(name: str) -> str:
    """The method of ranges that is tried first."""
    return "minmax" if name == "auto" else name


def chosen(bench: Workbench, schemes: Sequence[Scheme], errors: Mapping[str, float], reporter: Reporter) -> Choice:
    """Try types, then ranges, then ever more layers in float32, until one is within the tolerance.

    Args:
        bench: The network, its data, the target.
        schemes: Types to be tried, in the order in which equally fast ones are preferred.
        errors: Node of a layer -> what it costs alone; the costliest go back to float32 first.
        reporter: Shows progress.
    """
    experiment = bench.run.experiment
    float_score, float_ms, types = _types(bench, schemes, first_method(experiment.ranges), reporter)
    judge = _Judge(bench, float_score, reporter)
    leader = _leader(types, float_ms, judge)
    if judge.within(leader):
        return Choice(leader, True, types, (), float_score, float_ms)
    tried: list[Trial] = []
    for trial in _others(leader, experiment.ranges, errors):
        tried.append(judge.scored(trial, len(tried)))
        if judge.within(tried[-1]):
            return Choice(tried[-1], True, types, tuple(tried), float_score, float_ms)
    best = max([leader, *tried], key=judge.merit)
    return Choice(best, False, types, tuple(tried), float_score, float_ms)


def _leader(types: Sequence[Trial], float_ms: float, judge: _Judge) -> Trial:
    """The fastest within the tolerance; where none is, the one with the best score.

    Types that are slower than float32 count only where all are: they would be handed over in no case, while a faster
    type may come within the tolerance by other ranges.
    """
    faster = [trial for trial in types if (trial.latency_ms or 0.0) < float_ms] or types
    within = [trial for trial in faster if judge.within(trial)]
    return _fastest(within) if within else max(faster, key=judge.merit)


def _others(leader: Trial, method: str, errors: Mapping[str, float]) -> Iterator[Trial]:
    """Other ranges, then the costliest 1, 2, 4, ... layers in float32, as long as half of the layers stay integers."""
    if method == "auto":
        for name in RANGES:
            if name != leader.method:
                yield replace(leader, method=name, score=None, latency_ms=None)
    ordered, count = sorted(errors, key=lambda node: -errors[node]), 1
    while count <= len(ordered) // 2:
        yield replace(leader, float_layers=tuple(sorted(ordered[:count])), score=None, latency_ms=None)
        count *= 2


def _types(
    bench: Workbench, schemes: Sequence[Scheme], method: str, reporter: Reporter
) -> tuple[float, float, tuple[Trial, ...]]:
    """Every type timed beside float32 and scored: what a processor does with one shows in both figures."""
    trials = [Trial(scheme.name, method) for scheme in schemes]

    def session() -> dict[str, Any]:
        with reporter.stage("probe", "timing types of integers on the target") as bar:
            files = [bench.file.content, *(bench.content(trial) for trial in trials)]
            taken = [measured.ms for measured in bench.times(files, bar, passes=1)]
        with reporter.stage("search", "scoring types on the search split", len(files)) as bar:
            scores = []
            for number, content in enumerate(files):
                scores.append(bench.task.score(bench.network(content), bench.task.data.search))
                bar(number + 1)
        return {"ms": taken, "scores": scores}

    found = bench.run.once("quantize types", session)
    pairs = zip(trials, found["scores"][1:], found["ms"][1:], strict=True)
    types = tuple(replace(trial, score=score, latency_ms=ms) for trial, score, ms in pairs)
    return found["scores"][0], found["ms"][0], types


def _fastest(trials: Sequence[Trial]) -> Trial:
    """The first of those that are about as fast as the fastest."""
    least = min(trial.latency_ms or 0.0 for trial in trials)
    return next(trial for trial in trials if (trial.latency_ms or 0.0) <= least * (1 + _EQUALLY_FAST))


@dataclass(frozen=True)
class _Judge:
    bench: Workbench
    float_score: float
    reporter: Reporter

    def merit(self, trial: Trial) -> float:
        return self.bench.task.scored_as.merit(float(trial.score or 0.0))

    def within(self, trial: Trial) -> bool:
        return is_within(self.bench, float(trial.score or 0.0), self.float_score)

    def scored(self, trial: Trial, number: int) -> Trial:
        """A trial with its score, from the run where that has it."""
        stays = f", {len(trial.float_layers)} layers in float32" if trial.float_layers else ""

        def compute() -> dict[str, Any]:
            with self.reporter.stage("search", f"ranges by {trial.method}{stays}"):
                return self.bench.scored(trial).to_json()

        return Trial.from_json(self.bench.run.once(f"quantize trial {number}", compute))
