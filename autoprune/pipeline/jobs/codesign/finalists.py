"""The choice among the front's points: the cheapest are simulated with their own activations, and the least is taken.

The search prices every policy from the dense network's activations. On chips that skip zero activations, these move
once earlier layers are pruned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from autoprune.cost.chips import OBJECTIVES
from autoprune.errors import BudgetError
from autoprune.hardware.accelerators import workload_of
from autoprune.pipeline.jobs.codesign.arms import runnable
from autoprune.pipeline.jobs.codesign.layers import calls_of
from autoprune.pipeline.jobs.codesign.points import Point
from autoprune.pipeline.jobs.codesign.study import Study
from autoprune.pipeline.search.sessions import policy_key

__all__ = ["chosen_of", "simulated_point"]

_FINALISTS = 6  # tables are a few percent off, and points of a front lie further apart


def chosen_of(study: Study) -> Point:
    """The point of the front that takes least of the objective and loses no more than is allowed on the search split.

    Returns:
        It, as the table prices it.

    Raises:
        BudgetError: If every point loses more, or takes more than the limit; the least is named.
    """
    allowed, front = study.allowed_merit(), study.front()
    able = [point for point in front if point.candidate.merit >= allowed]
    if not able:
        raise _loses_more(study, front)
    for start in range(0, len(able), _FINALISTS):
        finalists = [(simulated_point(study, point).value, point) for point in able[start : start + _FINALISTS]]
        within = [(value, point) for value, point in finalists if value <= study.limit]
        if within:
            return min(within, key=lambda pair: pair[0])[1]
    least = min(simulated_point(study, point).value for point in able)
    raise BudgetError(
        f"with its own activations no network keeps the limit of {study.limit:.4g}: the least takes {least:.4g} of"
        f" {study.objective}; raise --at-most or --accuracy-drop",
        least,
    )


def simulated_point(study: Study, point: Point) -> Point:
    """A point with what its network takes under its own masks and activations; kept in the run."""
    arm, settings = point.candidate.arm, study.run.experiment
    problem, chip = arm.problem, arm.designs[point.chip].chip

    def simulate() -> dict[str, float]:
        network, calls = problem.prepared(point.candidate.choices), calls_of(problem.task)
        sample = workload_of(network, problem.task.example, calls, vectors=settings.vectors, seed=settings.seed)
        cost = chip.total(runnable(chip, sample))
        return {"ms": chip.ms(cost), "mj": cost.energy_mj}

    key = f"own activations {arm.family} {policy_key(point.candidate.choices)} {point.chip}"
    own = study.run.once(key, simulate)
    value = OBJECTIVES[study.objective].of(np.array(own["ms"]), np.array(own["mj"]))
    return replace(point, value=float(value), ms=own["ms"], mj=own["mj"])


def _loses_more(study: Study, front: Sequence[Point]) -> BudgetError:
    task, drop = study.arms[0].problem.task, study.run.experiment.accuracy_drop or 0.0
    best = max(front, key=lambda point: point.candidate.merit)
    lost = drop + (study.allowed_merit() - best.candidate.merit) * (100 if task.scored_as.is_accuracy else 1)
    return BudgetError(
        f"no network on a chip within {study.area:.4g} mm2 loses {drop:g} or less on the search split: the least is"
        f" {lost:.4g}, at {best.value:.4g} of {study.objective}; raise --accuracy-drop, --area or --at-most",
        lost,
    )
