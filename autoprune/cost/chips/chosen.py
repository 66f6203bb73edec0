"""The cost of a policy whose first decisions choose the chip, knob by knob."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from autoprune.cost.base import CostModel, Finishing
from autoprune.cost.chips.best import BestChip
from autoprune.cost.chips.completion import ChipCompletions, least_policies
from autoprune.cost.chips.tables import ChipTables
from autoprune.cost.terms import Costs, SumOfTerms, Term, Widths
from autoprune.errors import InputError
from autoprune.space import Decision, SearchSpace

__all__ = ["ChosenChip"]

KNOB = "knob"
"""Kind of the decisions on a chip; option n is the n-th value."""


class ChosenChip(CostModel):
    """What a policy costs on the chip that its own first decisions name.

    A policy that does not fit its chip, and knobs that make no chip within the area, cost more than any limit.

    Args:
        tables: Of the chips.
        knobs: Path of a key (`pe.count`) -> its values, in the order in which they are decided.
        chips: Of each chip in the order of the tables the values of its knobs.
        objective: `latency`, `energy` or `edp`.
        area: Square millimetres that a chip may take.

    Raises:
        InputError: If the chips are not as many as the tables', or one has a value that its knob lacks.
        BudgetError: If no chip is within the area.
    """

    def __init__(
        self,
        tables: ChipTables,
        knobs: Mapping[str, Sequence[object]],
        chips: Sequence[Mapping[str, object]],
        objective: str,
        area: float = np.inf,
    ) -> None:
        if len(chips) != len(tables):
            raise InputError(f"tables of {len(tables)} chips need the knobs of as many, not of {len(chips)}")
        self.layers = BestChip(tables, objective, area)
        self.kind, self.unit = self.layers.kind, self.layers.unit
        self._knobs = [Decision(f"chip {path}", len(v), tuple(range(1, len(v) + 1)), KNOB) for path, v in knobs.items()]
        self.space = SearchSpace((*self._knobs, *tables.space.decisions), tables.space.frozen, tables.space.model)
        self._every, self._areas, self._area = tables, tables.area, area
        self._rows = np.array([[_place(path, v, chip) for path, v in knobs.items()] for chip in chips], dtype=np.int64)
        self._number = np.full([len(v) for v in knobs.values()], -1, dtype=np.int64)
        for number, row in enumerate(self._rows):
            self._number[tuple(row)] = number

    @property
    def count(self) -> int:
        """How many decisions are on the chip."""
        return len(self._knobs)

    def naming(self, number: int) -> dict[str, int]:
        """What the decisions on the chip are of one of the chips."""
        return {knob.name: int(place) + 1 for knob, place in zip(self._knobs, self._rows[number], strict=True)}

    def chip_of(self, indices: Widths) -> Widths:
        """Number of each policy's chip in the tables; -1 where its knobs make none."""
        return np.asarray(self._number[tuple(indices[:, k] for k in range(self.count))])

    def costs(self, indices: Widths) -> Costs:
        """Costs of many policies, (policies, decisions) option numbers to (policies,)."""
        indices = np.asarray(indices, dtype=np.int64)
        chips, rows = self.chip_of(indices), np.arange(len(indices))
        sums, objective = self._every.sums(indices[:, self.count :]), self.layers.objective
        own = np.maximum(chips, 0)
        figures = objective.of(sums.ms[rows, own], sums.mj[rows, own])
        over = sums.overflow[rows, own] + np.maximum(self._areas[own] / self._area - 1.0, 0.0)
        return np.where(chips < 0, 4 * self._ceiling, np.where(over > 0, self._ceiling * (1 + over), figures))

    @cached_property
    def _ceiling(self) -> float:
        return BestChip(self._every, self.kind).ceiling

    @property
    def parts(self) -> tuple[SumOfTerms, ...]:
        """The sum of the chip that suits the dense network best, which the knobs do not change."""
        return tuple(_Shifted(part, self.space, self.count) for part in self.layers.parts)

    def spent(self, indices: Widths) -> Costs:
        """The costs."""
        return self.costs(indices)

    def excess(self, indices: Widths, limit: float) -> Costs:
        """What policies cost above a limit, (policies,)."""
        return np.maximum(self.costs(indices) - limit, 0.0)

    def finishing(self) -> Finishing:
        """Completions of policies begun: of every chip its own cheapest."""
        sizes = [len(decision.options) for decision in self.space.decisions]
        tails = np.concatenate([np.hstack([self._rows, own]) for own in least_policies(self._every)])
        return ChipCompletions(self.costs, sizes, np.unique(tails, axis=0))

    def refusal(self, limit: float) -> str:
        """Names the least reachable cost."""
        return self.layers.refusal(limit)


class _Shifted:
    """A sum over the layers, whose decisions come behind those on the chip."""

    def __init__(self, part: SumOfTerms, space: SearchSpace, by: int) -> None:
        self._part, self._by, self.space, self.fixed = part, by, space, part.fixed
        self.terms = tuple(Term(tuple(d + by for d in term.scope), term.table) for term in part.terms)

    def costs(self, indices: Widths) -> Costs:
        """Sums of option numbers (policies, decisions), (policies,)."""
        return self._part.costs(indices[:, self._by :])


def _place(path: str, values: Sequence[object], chip: Mapping[str, object]) -> int:
    """Number of a chip's value of a knob."""
    known = list(values)
    if path not in chip or chip[path] not in known:
        shown = ", ".join(map(str, itertools.islice(known, 6)))
        raise InputError(f"the knob {path} has the values {shown}; a chip has {chip.get(path, 'none')}")
    return known.index(chip[path])
