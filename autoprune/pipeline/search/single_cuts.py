"""Scores of the dense network and of every decision cut alone: measured once for the same weights and data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from autoprune.envs import Curves
from autoprune.errors import InputError
from autoprune.foundations.cache import cache_folder
from autoprune.foundations.digests import content_digest
from autoprune.foundations.files import read_json, write_json
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.run.score import ScoreSpec
from autoprune.space import Decision, SearchSpace

__all__ = ["SingleCuts", "score_single_cuts", "tried_options"]

ROWS = "checkpoint/sensitivity.jsonl"

Score = Callable[[Mapping[str, int]], float]
Begin = Callable[[Sequence[Mapping[str, int]]], None]


@dataclass(frozen=True)
class SingleCuts:
    """What was scored.

    Attributes:
        dense: Score of the network with nothing cut but what candidates' weights change.
        points: Decision -> kept units -> score with this decision alone cut.
    """

    dense: float
    points: dict[str, dict[int, float]]

    def curves(self, space: SearchSpace, spec: ScoreSpec) -> Curves:
        """The curves through these points, of the score turned so that larger is better."""
        merits = {name: {kept: spec.merit(s) for kept, s in scores.items()} for name, scores in self.points.items()}
        return Curves.measured(space, merits, spec.merit(self.dense))


def tried_options(decision: Decision, count: int) -> list[int]:
    """Kept units at which a decision is scored: `count` of its options, evenly spread, the least among them.

    >>> tried_options(Decision("conv1", 16, tuple(range(2, 17, 2))), 4)
    [2, 6, 10, 12]
    """
    places = np.linspace(0, len(decision.options) - 1, count + 1).round().astype(int)[:-1]
    return [decision.options[i] for i in sorted(set(places.tolist())) if decision.options[i] != decision.width]


def score_single_cuts(
    problem: Problem, score: Score, count: int, reporter: Reporter, begin: Begin | None = None
) -> SingleCuts:
    """Score every decision cut alone; what the run or the cache of earlier runs has is not scored again.

    Args:
        problem: The network, its decisions, the run.
        score: Of a policy, from its kept units.
        count: Options of each decision that are tried, 1 or more.
        reporter: Shows the progress.
        begin: Given policies that will be asked for, so that some can be scored at the same time.
    """
    space = problem.space
    wanted = [("", 0), *((d.name, kept) for d in space.decisions for kept in tried_options(d, count))]
    known = {(row["decision"], row["kept"]): float(row["score"]) for row in problem.run.rows(ROWS)}
    if any(point not in known for point in wanted):
        cache = _Cache(problem)
        with reporter.stage("sensitivity", "scoring single cuts", len(wanted), len(known)) as bar:
            for number, point in enumerate(wanted, start=1):
                if point not in known:
                    if begin is not None and cache.asked == 1:  # the first has shown whether the others are believed
                        begin([_policy(each) for each in wanted if each not in known and not cache.knows(each)])
                    known[point] = cache.score(point, score)
                    problem.run.append_row(ROWS, {"decision": point[0], "kept": point[1], "score": known[point]})
                bar.update(number)
        cache.save(known)
    points: dict[str, dict[int, float]] = {decision.name: {} for decision in space.decisions}
    for name, kept in wanted[1:]:
        points[name][kept] = known[name, kept]
    return SingleCuts(known[wanted[0]], points)


def _policy(point: tuple[str, int]) -> dict[str, int]:
    """The policy that cuts one decision alone, or nothing."""
    name, kept = point
    return {name: kept} if name else {}


class _Cache:
    """Scores of earlier runs of the same weights and data.

    Not everything that a score depends on has a name (a function of the user's own may have changed), so the first
    score is taken again, and only if it is the same are the others believed.
    """

    def __init__(self, problem: Problem) -> None:
        self._path: Path = cache_folder() / "sensitivity" / f"{_fingerprint(problem)}.json"
        self._stored = self._read()
        self._believed = False
        self.asked = 0  # scores that were asked for

    def knows(self, point: tuple[str, int]) -> bool:
        """Whether a point's score is there, and believed."""
        return self._believed and point in self._stored

    def _read(self) -> dict[tuple[str, int], float]:
        try:
            rows = read_json(self._path, "cache of scores")["scores"]
            return {(str(row["decision"]), int(row["kept"])): float(row["score"]) for row in rows}
        except (InputError, OSError, KeyError, TypeError, ValueError):
            return {}

    def score(self, point: tuple[str, int], score: Score) -> float:
        """The stored score of a point, or a fresh one."""
        self.asked += 1
        if self.knows(point):
            return self._stored[point]
        name, kept = point
        fresh = float(score(_policy(point)))
        if not np.isfinite(fresh):
            raise InputError(f"the score with {kept} units of {name or 'every layer'} is {fresh}; it must be finite")
        if point in self._stored:
            self._believed = self._stored[point] == fresh
            self._stored = self._stored if self._believed else {}
        return fresh

    def save(self, scores: Mapping[tuple[str, int], float]) -> None:
        """Keep all scores; a cache that cannot be written is no reason to stop."""
        rows = [{"decision": n, "kept": k, "score": s} for (n, k), s in {**self._stored, **scores}.items()]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, {"schema": "autoprune.single-cuts/1", "scores": rows})
        except (InputError, OSError):
            return


def _fingerprint(problem: Problem) -> str:
    """Digest of all that is known to change scores: weights, order of units, data, settings of the scoring."""
    experiment = problem.experiment
    names = (experiment.candidate_weights, experiment.techniques, experiment.evaluate, experiment.device)
    order = {name: list(problem.ranking[name]) for name in problem.ranking}
    said = json.dumps([names, order, torch.__version__], sort_keys=True)
    return content_digest([said, problem.task.model.state_dict(), problem.task.search_parts[0]])
