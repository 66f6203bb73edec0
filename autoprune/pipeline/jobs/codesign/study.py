"""What a search for a network and its accelerator compares: the joint search, and the baselines beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoprune.agents import EpisodeRecord
from autoprune.cost.chips import BestChip
from autoprune.envs import Curves
from autoprune.errors import BudgetError
from autoprune.pipeline.jobs.codesign.arms import Arm
from autoprune.pipeline.jobs.codesign.knobs import KnobChoice
from autoprune.pipeline.jobs.codesign.points import Candidate, Choice, Point, front_of
from autoprune.pipeline.jobs.codesign.searching import (
    Part,
    curves_of,
    nearest_policy,
    parts_by_chip,
    play_part,
    rows_of,
    scored_once,
    uniform_policies,
    within,
)
from autoprune.pipeline.reporter import Reporter
from autoprune.run.directory import RunDir
from autoprune.techniques.sparsity.kept import SHARES

__all__ = ["BASELINES", "CHIP", "RANDOM", "RATIOS", "SEQUENTIAL", "UNIFORM", "Study"]

UNIFORM = "uniform"
RATIOS = "ratios on the fixed chip"
CHIP = "chip for the fixed pruning"
SEQUENTIAL = "one after the other"
RANDOM = "random"
BASELINES = (UNIFORM, RATIOS, CHIP, SEQUENTIAL, RANDOM)
"""Names of the baselines in the report."""

JOINT = "joint"

_USEFUL = 0.05  # of accuracy below dense, down to which a uniform policy says where the search begins
_ROOM = 1.02
_WORTH = 2.0  # what a family may take more of the objective at one ratio, and still be searched


@dataclass(frozen=True, eq=False)
class Study:
    """A search under way.

    Attributes:
        run: Its folder.
        arms: By family of patterns; the first has the fixed chip.
        fixed: Number of the fixed chip in the first arm's tables.
        area: What a chip may take, mm2.
        limit: What the network may take of the objective, in its unit; infinite without a limit.
        reporter: Shows progress.
    """

    run: RunDir
    arms: Sequence[Arm]
    fixed: int
    area: float
    limit: float
    reporter: Reporter

    @property
    def objective(self) -> str:
        """What is made small."""
        return self.run.experiment.objective

    def on_fixed_chip(self) -> Choice:
        """The first arm's cost on the fixed chip alone."""
        return Choice.of(self.arms[0], self.objective, np.inf, [self.fixed])

    def on_any_chip(self, arm: Arm) -> Choice:
        """An arm's cost on the best chip within the area."""
        return Choice.of(arm, self.objective, self.area)

    # Policies that are scored ----------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Score the uniform policies, play all searches, each going on where the run stopped."""
        for arm in self.arms:
            self._remember(arm, rows_of(self.run))
        settings, first = self.run.experiment, self.arms[0]
        policies = [(arm, each) for arm in self.arms for each in self._uniform(arm)]
        with self.reporter.stage("search", "scoring one ratio for all layers", len(policies)) as bar:
            for number, (arm, choices) in enumerate(policies, start=1):
                score = scored_once(arm, choices)
                bar.update(number, score=arm.problem.task.scored_as.text(score))
        if "pruning" not in settings.searched:
            return
        self._search("ratios", {first: self.on_fixed_chip()}, settings.agent, {})
        joint = {arm: self.on_any_chip(arm) for arm in self.promising()}
        self._search(JOINT, joint, settings.agent, {arm: self._seeds(arm) for arm in joint})
        self._search("random", joint, "random", {})

    def promising(self) -> list[Arm]:
        """The arms that are searched: one ratio for all layers takes at most twice as much there as in the best arm.

        Ratios of their own rarely gain more than that. Compared are the uniform policies that lose no more than is
        allowed, or of all arms the most accurate where none does.
        """
        found = {arm: self._best_uniform(arm) for arm in self.arms}
        best = min(found.values())
        kept = [arm for arm in self.arms if found[arm] <= _WORTH * best]
        for arm in self.arms:
            if arm not in kept:
                self.reporter.say(
                    f"{arm.family} is not searched further: at one ratio it takes {found[arm] / best:.3g} times as"
                    f" much of {self.objective} as the best family"
                )
        return kept

    def _best_uniform(self, arm: Arm) -> float:
        """The least of the objective at which one ratio loses no more than allowed; infinite where it always does."""
        allowed = self.allowed_merit()
        points = self.on_any_chip(arm).points(self.uniform(arm))
        fine = [point.value for point in points if point.candidate.merit >= allowed]
        return min(fine or [point.value for point in points], default=np.inf)

    def allowed_merit(self) -> float:
        """The least merit on the search split that a chosen network may have."""
        task, settings = self.arms[0].problem.task, self.run.experiment
        drop = settings.accuracy_drop or 0.0
        return self.uniform(self.arms[0])[-1].merit - drop / (100 if task.scored_as.is_accuracy else 1)

    @staticmethod
    def _remember(arm: Arm, rows: Sequence[tuple[str, EpisodeRecord]]) -> None:
        for name, record in rows:
            if name.startswith(f"{arm.family}: "):
                arm.memory.remember(arm.own(record.choices), record.value)

    def uniform(self, arm: Arm) -> list[Candidate]:
        """One share for all layers, the sparsest first, and the dense network."""
        return [Candidate(arm, each, scored_once(arm, each)) for each in self._uniform(arm)]

    @staticmethod
    def _uniform(arm: Arm) -> list[dict[str, int]]:
        return [*uniform_policies(arm.problem.space, SHARES), arm.problem.space.complete({})]

    def _search(
        self, name: str, costs: Mapping[Arm, Choice], agent: str, seeds: Mapping[Arm, Sequence[Mapping[str, int]]]
    ) -> None:
        """One search in some arms: episodes are shared out to arms and limits."""
        costs = {arm: choice for arm, choice in costs.items() if choice.cost.least()[0] < choice.cost.ceiling}
        shares = [len(each) for each in np.array_split(np.arange(self.run.experiment.episodes), max(1, len(costs)))]
        parts = [
            part
            for (arm, choice), share in zip(costs.items(), shares, strict=False)
            for part in self._parts(f"{arm.family}: {name}", choice, agent, share, seeds.get(arm, ()))
        ]
        curves = {arm: self._curves(arm, agent, parts) for arm in costs}
        total = sum(part.episodes for part in parts)
        with self.reporter.stage("search", f"{name}: {agent}", total) as bar:
            done = 0
            for part in parts:
                records = play_part(part, curves[part.arm], self.reporter, bar, done)
                done += len(records)

    def _parts(
        self, name: str, choice: Choice, agent: str, episodes: int, seeds: Sequence[Mapping[str, int]]
    ) -> Iterator[Part]:
        """The searches of an arm, one for each limit."""
        limits = self.limits(choice.arm, choice.cost)
        shares = [len(each) for each in np.array_split(np.arange(episodes), len(limits))]
        for number, (limit, share) in enumerate(zip(limits, shares, strict=True)):
            if share:
                part = Part(f"{name} {number}", choice.arm, choice.cost, limit, agent, share, seeds)
                yield from parts_by_chip(replace(part, knobs=self._knobs(part)))

    def _knobs(self, part: Part) -> KnobChoice | None:
        """The chip as first decisions, in the joint search where that is wanted."""
        if not self.run.experiment.chip_first or not part.name.startswith(f"{part.arm.family}: {JOINT} "):
            return None
        knobs = KnobChoice(part.arm, part.cost)
        return knobs if knobs.exists else None

    def _curves(self, arm: Arm, agent: str, parts: Sequence[Part]) -> Curves | None:
        return curves_of(
            arm, agent, sum(part.episodes for part in parts if part.arm is arm and part.knobs is None), self.reporter
        )

    def limits(self, arm: Arm, cost: BestChip) -> list[float]:
        """Costs that are searched: from that of the sparsest useful uniform policy to the densest's.

        Useful is what loses at most five points, or four times what may be lost.
        """
        spec, settings = arm.problem.task.scored_as, self.run.experiment
        *pruned, dense = self.uniform(arm)
        drop = 4 * (settings.accuracy_drop or 0.0) / (100 if spec.is_accuracy else 1)
        least = dense.merit - max(drop, _USEFUL if spec.is_accuracy else drop)
        priced = [(cost.cost(each.choices), each) for each in pruned]
        fitting = [(value, each) for value, each in priced if value < cost.ceiling]
        useful = [value for value, each in fitting if each.merit >= least] or [value for value, _ in fitting]
        low = max(min(useful, default=0.0) * _ROOM, cost.least()[0])
        high = max(low, min(max(useful, default=low), self.limit))
        low = max(min(low, self.limit), cost.least()[0])
        if settings.levels == 1:
            return [high if np.isfinite(self.limit) else float(np.sqrt(low * high))]
        return [float(each) for each in np.geomspace(low, high, settings.levels)]

    def _seeds(self, arm: Arm) -> list[dict[str, int]]:
        """What the joint search starts from: the uniform policies, and what was found on the fixed chip."""
        cost, space = self.on_any_chip(arm).cost, arm.problem.space
        first = self.arms[0]
        found = [point.candidate.choices for point in self.points(RATIOS)]
        if arm is not first:
            widths = {d.name: d.width for d in first.problem.space.decisions}
            shares = [{name: kept / widths[name] for name, kept in choices.items()} for choices in found]
            found = [nearest_policy(space, each) for each in shares]
        policies = [each.choices for each in self.uniform(arm)[::-1]] + found
        limits = self.limits(arm, cost)
        return [dict(within(cost, limit, each)) for limit in limits for each in policies if cost.cost(each) <= limit]

    # Points ----------------------------------------------------------------------------------------------------

    def candidates(self, arm: Arm, *names: str) -> list[Candidate]:
        """All policies of an arm that some searches have scored, and the uniform ones, each once."""
        found = {tuple(each.choices.values()): each for each in [*self.uniform(arm), *self.played(arm, *names)]}
        return list(found.values())

    def played(self, arm: Arm, *names: str) -> list[Candidate]:
        """The policies of the episodes of some searches."""
        return [
            Candidate(arm, arm.problem.space.complete(arm.own(record.choices)), record.value)
            for part, record in rows_of(self.run)
            if any(part.startswith(f"{arm.family}: {name} ") for name in names)
        ]

    def points(self, baseline: str) -> list[Point]:
        """The front of a baseline, by rising objective."""
        first = self.arms[0]
        fixed, free = self.on_fixed_chip(), self.on_any_chip(first)
        if baseline == UNIFORM:
            return fixed.front(self.uniform(first))
        if baseline == RATIOS:
            return fixed.front(self.candidates(first, "ratios"))
        if baseline == CHIP:
            return front_of([*free.points(self.uniform(first)), *self._dense_points()])
        if baseline == SEQUENTIAL:
            found = [point.candidate for point in self.points(RATIOS)]
            return front_of([*free.points(found), *self._dense_points()])
        return front_of(
            point for arm in self.arms for point in self.on_any_chip(arm).points(self.played(arm, "random"))
        )

    def _dense_points(self) -> list[Point]:
        """The dense network on the best chip of every other family: what chips cost that make no use of the masks."""
        others = [(self.on_any_chip(arm), self.uniform(arm)[-1]) for arm in self.arms[1:]]
        return [point for choice, dense in others for point in choice.points([dense])]

    def front(self) -> list[Point]:
        """The front of everything that was scored, each policy on its best chip, by rising objective.

        Raises:
            BudgetError: If no network fits a chip within the limit.
        """
        points = [
            point
            for arm in self.arms
            for point in self.on_any_chip(arm).points(self.candidates(arm, "ratios", JOINT, "random"))
            if point.value <= self.limit
        ]
        if not points:
            raise BudgetError(f"no network that was scored takes {self.limit:.4g} or less", self.limit)
        return front_of(points)
