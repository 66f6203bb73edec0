"""The front of a search: the policies that no other beats in score and cost, kept in the run."""

from __future__ import annotations

from collections.abc import Sequence

from autoprune.agents import EpisodeRecord
from autoprune.pipeline.search.play import Search
from autoprune.reports.figures.search import front
from autoprune.run.front import Front, FrontPoint
from autoprune.run.score import ScoreSpec

__all__ = ["keep_front"]


def keep_front(found: Search) -> None:
    """Write `front.json`, and a policy file for every point of the front, which `autoprune apply` takes.

    Scores are those of the search split before fine-tuning, costs are predicted.
    """
    problem, spec = found.problem, found.problem.task.scored_as
    dense = problem.space.complete({})
    score = problem.run.once("dense search score", lambda: found.score(dense))
    Front(
        kind=problem.cost.kind,
        unit=problem.cost.unit,
        limit=found.agent.env.limit,
        score_name=spec.name,
        direction=spec.direction,
        dense=FrontPoint(score=score, predicted_cost=problem.cost.dense, choices=dense),
        points=tuple(_point(found, record) for record in _best(found.records, spec)),
    ).save(problem.run.path)


def _best(records: Sequence[EpisodeRecord], spec: ScoreSpec) -> list[EpisodeRecord]:
    """The records that no other beats in both, by rising cost; the earliest of those that are equal."""
    at: dict[tuple[float, float], EpisodeRecord] = {}
    for record in records:
        at.setdefault((record.predicted_cost, spec.merit(record.value)), record)
    return [at[point] for point in front(list(at))]


def _point(found: Search, record: EpisodeRecord) -> FrontPoint:
    problem = found.problem
    name = f"policies/front-{record.episode}.json"
    problem.policy(record.choices, problem.experiment.agent).save(problem.run.file(name))
    return FrontPoint(
        score=record.value,
        predicted_cost=record.predicted_cost,
        episode=record.episode,
        choices=record.choices,
        policy=name,
    )
