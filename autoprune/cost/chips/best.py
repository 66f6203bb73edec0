"""The cost of a policy on the chip that suits it best."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.base import CostModel, Finishing
from autoprune.cost.chips.completion import ChipCompletions, least_policies
from autoprune.cost.chips.objectives import OBJECTIVES, Objective
from autoprune.cost.chips.tables import ChipSums, ChipTables
from autoprune.cost.terms import Costs, SumOfTerms, Term, Widths
from autoprune.errors import BudgetError
from autoprune.space import SearchSpace

__all__ = ["BestChip"]


class BestChip(CostModel):
    """The least that a policy comes to on any chip within an area whose memories hold its weights.

    A policy that fits no chip costs more than any limit: twice the most that any policy can come to, and more the less
    it fits, so that searches which start there find their way in.

    Args:
        tables: Of the chips.
        objective: `latency`, `energy` or `edp`.
        area: Square millimetres that a chip may take.

    Raises:
        BudgetError: If no chip is within the area; the smallest is named.
    """

    def __init__(self, tables: ChipTables, objective: str, area: float = np.inf) -> None:
        within = np.flatnonzero(tables.area <= area)
        if not len(within):
            least = float(tables.area.min())
            raise BudgetError(f"no chip takes {area:.4g} mm2 or less; the smallest takes {least:.4g} mm2", least)
        self.objective: Objective = OBJECTIVES[objective]
        self.kind, self.unit, self.space = objective, self.objective.unit, tables.space
        self.every = tables.only(within)
        self.numbers = within
        self.tables = self.every.only(self.every.undominated(reads_energy=self.objective.reads_energy))

    def costs(self, indices: Widths) -> Costs:
        """Costs of many policies, (policies, decisions) option numbers to (policies,)."""
        return np.asarray(self._values(self.tables.sums(indices)).min(axis=1))

    def _values(self, sums: ChipSums) -> Costs:
        figures = self.objective.of(sums.ms, sums.mj)
        return np.where(sums.overflow > 0, self.ceiling * (1 + sums.overflow), figures)

    @cached_property
    def ceiling(self) -> float:
        """What policies that fit no chip cost at least, in `unit`: above all that any other can."""
        most_ms = self.tables.fixed_ms + sum(each.max(axis=0) for each in self.tables.ms)
        most_mj = self.tables.fixed_mj + sum(each.max(axis=0) for each in self.tables.mj)
        return 2 * float(self.objective.of(most_ms, most_mj).max()) or 1.0

    def chip_of(self, indices: Widths) -> NDArray[np.int64]:
        """The best chip of each policy, among all that were handed over; of equal ones the smallest. (policies,)."""
        values = self._values(self.every.sums(indices))
        best = values.min(axis=1, keepdims=True)
        areas = np.where(values <= best * (1 + 1e-12), self.every.area[None], np.inf)
        return np.asarray(self.numbers[areas.argmin(axis=1)])

    def fits(self, indices: Widths) -> NDArray[np.bool_]:
        """Whether each policy fits a chip, (policies,)."""
        return np.asarray(self.costs(indices) < self.ceiling)

    @cached_property
    def parts(self) -> tuple[SumOfTerms, ...]:
        """One sum: of a single chip the cost itself (of a product its tangent), else that of the dense network's best.

        For agents that account for single decisions. What a policy costs, `costs` says.
        """
        dense = self.space.indices({})[None]
        chip = int(self._values(self.tables.sums(dense)).argmin(axis=1)[0])
        return (_tangent(self.tables.only([chip]), self.objective, dense),)

    def spent(self, indices: Widths) -> Costs:
        """The costs."""
        return self.costs(indices)

    def excess(self, indices: Widths, limit: float) -> Costs:
        """What policies cost above a limit, (policies,)."""
        return np.maximum(self.costs(indices) - limit, 0.0)

    def finishing(self) -> Finishing:
        """Completions of policies begun, each the cheapest of some chip."""
        sizes = [len(decision.options) for decision in self.space.decisions]
        tails = np.unique(np.concatenate(least_policies(self.tables)), axis=0)
        return ChipCompletions(self.costs, sizes, tails)

    def refusal(self, limit: float) -> str:
        """Names the least reachable cost."""
        least = self.least()[0]
        if least >= self.ceiling:
            return "even the sparsest network fits no chip: give more area, or larger memories"
        return f"{limit:.4g} {self.unit} cannot be met: the least reachable is {least:.4g} {self.unit}"


@dataclass(frozen=True, eq=False)
class _Sum:
    """A fixed part and a term a decision."""

    space: SearchSpace
    fixed: float
    terms: tuple[Term, ...]

    def costs(self, indices: Widths) -> Costs:
        """Sums of option numbers (policies, decisions), (policies,)."""
        total = np.full(len(indices), self.fixed)
        for term in self.terms:
            total += term.at(indices, self.space)
        return total


def _tangent(chip: ChipTables, objective: Objective, dense: Widths) -> _Sum:
    """The objective of one chip as a sum: exact where it is one, else weighed as at the dense network."""
    at = chip.sums(dense)
    ms, mj = float(at.ms[0, 0]), float(at.mj[0, 0])
    if objective.is_sum:
        each = [objective.of(chip.ms[d][:, 0], chip.mj[d][:, 0]) for d in range(len(chip.space))]
        fixed = float(objective.of(chip.fixed_ms, chip.fixed_mj)[0])
    else:
        each = [(chip.ms[d][:, 0] * mj + chip.mj[d][:, 0] * ms) / 2 for d in range(len(chip.space))]
        fixed = float((chip.fixed_ms * mj + chip.fixed_mj * ms)[0] / 2)
    return _Sum(chip.space, fixed, tuple(Term((d,), table) for d, table in enumerate(each)))
