"""Points of a search: a policy on a chip, with what it is worth and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.chips import BestChip
from autoprune.pipeline.finish.fine_tuning import reported_score
from autoprune.pipeline.jobs.codesign.arms import Arm
from autoprune.pipeline.search.sessions import policy_key

__all__ = ["Candidate", "Choice", "Point", "cheapest", "front_of", "hypervolume", "thinned"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A scored policy.

    Attributes:
        arm: Whose.
        choices: Kept units by decision, complete.
        score: On the search split, before fine-tuning.
    """

    arm: Arm
    choices: dict[str, int]
    score: float

    @property
    def merit(self) -> float:
        """The score, turned where less is better."""
        return self.arm.problem.task.scored_as.merit(self.score)


@dataclass(frozen=True, eq=False)
class Point:
    """A scored policy on a chip.

    Attributes:
        candidate: The policy.
        chip: Number of the chip in the arm's tables.
        value: Of the objective, in its unit.
        ms: Milliseconds of a call.
        mj: Millijoules of a call.
    """

    candidate: Candidate
    chip: int
    value: float
    ms: float
    mj: float

    @property
    def area(self) -> float:
        """Of the chip, mm2."""
        return float(self.candidate.arm.tables.area[self.chip])

    def row(self) -> dict[str, Any]:
        """What the report has of it; scores its network on the test split, once a run."""
        arm, choices = self.candidate.arm, self.candidate.choices
        problem, design = arm.problem, arm.designs[self.chip]
        task = problem.task
        key = f"test {arm.family} {policy_key(choices)}"
        score = problem.run.once(key, lambda: reported_score(task, problem.prepared(choices), task.data.test))
        named = {"accuracy": score} if task.scored_as.is_accuracy else {"accuracy": None, "score": score}
        return {
            **named,
            "search_score": self.candidate.score,
            "cycles": self.ms * design.chip.clock_mhz * 1e3,
            "latency_ms": self.ms,
            "energy_mj": self.mj,
            "edp_mj_ms": self.ms * self.mj,
            "area_mm2": self.area,
            "pattern": arm.family,
            "density": kept_share(arm, choices),
            "hardware": design.name,
            "choices": choices,
        }


def kept_share(arm: Arm, choices: dict[str, int]) -> float:
    """Share of the weights of all decisions that stay."""
    space, masks = arm.problem.space, arm.layers.masks
    stays = [masks[d.name][d.options.index(choices[d.name])] for d in space.decisions]
    return float(sum(int(mask.sum()) for mask in stays) / sum(mask.size for mask in stays))


@dataclass(frozen=True, eq=False)
class Choice:
    """The chips that a policy of an arm may be put on.

    Attributes:
        arm: Whose.
        cost: The least on any of them.
        numbers: Of the chips in the arm's tables, in the order of the cost's.
    """

    arm: Arm
    cost: BestChip
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, arm: Arm, objective: str, area: float, among: Sequence[int] | None = None) -> Choice:
        """The chips of an arm within an area.

        Args:
            arm: Its tables.
            objective: What is made small.
            area: mm2.
            among: Numbers of some chips; all if not given.

        Raises:
            BudgetError: If no chip is within the area.
        """
        numbers = np.arange(len(arm.tables)) if among is None else np.asarray(among, dtype=np.int64)
        return cls(arm, BestChip(arm.tables.only(numbers), objective, area), numbers)

    def point(self, candidate: Candidate) -> Point | None:
        """A policy on the chip that suits it best; None where it fits none."""
        cost = self.cost
        indices = cost.space.indices(candidate.choices)[None]
        if not bool(cost.fits(indices)[0]):
            return None
        chip = int(self.numbers[cost.chip_of(indices)[0]])
        sums = self.arm.tables.only([chip]).sums(indices)
        value = float(cost.objective.of(sums.ms, sums.mj)[0, 0])
        return Point(candidate, chip, value, float(sums.ms[0, 0]), float(sums.mj[0, 0]))

    def points(self, candidates: Iterable[Candidate]) -> list[Point]:
        """Those that fit, each on its best chip."""
        found = map(self.point, candidates)
        return [point for point in found if point is not None]

    def front(self, candidates: Iterable[Candidate]) -> list[Point]:
        """Those that no other beats."""
        return front_of(self.points(candidates))


def front_of(points: Iterable[Point]) -> list[Point]:
    """The points that no other beats in objective and score, by rising objective; of equal ones the smaller chip."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.value, -p.candidate.merit, p.area)):
        if not front or point.candidate.merit > front[-1].candidate.merit:
            front.append(point)
    return front


def cheapest(points: Iterable[Point], merit: float) -> Point | None:
    """The first point of a front with at least so much merit; None if there is none."""
    return next((point for point in points if point.candidate.merit >= merit), None)


def thinned(points: Sequence[Point], most: int, keep: Iterable[Point | None] = ()) -> list[Point]:
    """At most so many points, evenly spread, first and last among them; and those that are to be kept."""
    places = np.arange(len(points)) if len(points) <= most else np.linspace(0, len(points) - 1, most).round()
    chosen = [points[int(place)] for place in places]
    for point in keep:
        if point is not None and all(point.value != each.value for each in chosen):
            chosen.append(point)
    return sorted(chosen, key=lambda each: each.value)


def hypervolume(points: Sequence[Point], worst_merit: float, dense_value: float) -> float:
    """The area that points dominate: the logarithm of the objective's gain over dense times the merit above the worst.

    Args:
        points: A front, by rising objective.
        worst_merit: Merit that counts for nothing.
        dense_value: Objective that counts for nothing.
    """
    total, before = 0.0, worst_merit
    for point in points:
        gain = np.log(dense_value / point.value) if point.value < dense_value else 0.0
        merit = max(point.candidate.merit, before)
        total += float(gain) * (merit - before)
        before = merit
    return total
