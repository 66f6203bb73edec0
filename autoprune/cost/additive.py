"""Costs that are sums of entries, each of which depends on few decisions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np

from autoprune.cost.base import CostModel, Finishing
from autoprune.cost.completion import Completions
from autoprune.cost.terms import CostEntry, Costs, SumOfTerms, Term, Widths
from autoprune.errors import InputError
from autoprune.space import SearchSpace

__all__ = ["AdditiveCost", "Step"]


_TABLE_LIMIT = 1 << 21  # larger joint option grids are priced by calling the entry


class Step(NamedTuple):
    """What one option less or more of a decision changes, in the cost's unit.

    Attributes:
        down: Added by the next narrower option (negative where it saves); None at the narrowest.
        up: Added by the next wider option; None at the widest.
    """

    down: float | None
    up: float | None


class _LookUp:
    """A term at one policy, without NumPy's overhead of an array of one."""

    __slots__ = ("_item", "_space", "_steps", "_term")

    def __init__(self, term: Term, space: SearchSpace) -> None:
        self._term = term
        self._space = space
        shape = () if term.table is None else term.table.shape
        strides = [prod(shape[k + 1 :]) for k in range(len(shape))]
        self._steps = tuple(zip(term.scope, strides, strict=True)) if shape else ()
        self._item = None if term.table is None else np.ascontiguousarray(term.table).ravel().item

    def __call__(self, indices: Sequence[int]) -> float:
        if self._item is None:
            return float(self._term.at(np.asarray(indices, dtype=np.int64)[None], self._space)[0])
        place = 0
        for d, stride in self._steps:
            place += indices[d] * stride
        return float(self._item(place))


class AdditiveCost(CostModel):
    """A cost model that is a sum of entries.

    Entries are tabulated over the options once, so that pricing is indexing.

    Args:
        kind: What is priced: `latency`, `flops`, `params`.
        unit: The unit of every number here, for people: `ms`, `MACs`, `parameters`.
        space: The decisions and their options.
        entries: The parts of the cost.

    Raises:
        InputError: If an entry names a decision that the space lacks, or a price is not finite or negative.
    """

    def __init__(self, kind: str, unit: str, space: SearchSpace, entries: Sequence[CostEntry]) -> None:
        self.kind = kind
        self.unit = unit
        self.space = space
        self.entries = tuple(entries)
        self.fixed = float(sum(self._fixed_price(entry) for entry in self.entries if not entry.scope))
        self.terms = self._build_terms()

    def _fixed_price(self, entry: CostEntry) -> float:
        return float(self._checked(entry, entry.price(np.empty((1, 0), dtype=np.int64)))[0])

    def _build_terms(self) -> tuple[Term, ...]:
        number = {name: i for i, name in enumerate(self.space.names)}
        by_scope: dict[tuple[int, ...], list[CostEntry]] = defaultdict(list)
        for entry in self.entries:
            unknown = [name for name in entry.scope if name not in number]
            if unknown:
                raise InputError(f"cost entry {entry.name!r} depends on {unknown[0]!r}, which is no decision")
            if entry.scope:
                by_scope[tuple(sorted(number[name] for name in entry.scope))].append(entry)
        return tuple(self._term(scope, tuple(parts)) for scope, parts in sorted(by_scope.items()))

    def _term(self, scope: tuple[int, ...], entries: tuple[CostEntry, ...]) -> Term:
        options = [np.asarray(self.space.decisions[d].options, dtype=np.int64) for d in scope]
        shape = tuple(len(o) for o in options)
        if prod(shape) > _TABLE_LIMIT:
            return Term(scope, None, entries)
        grid = np.stack([g.ravel() for g in np.meshgrid(*options, indexing="ij")], axis=1)
        total = np.zeros(len(grid))
        for entry in entries:
            order = [scope.index(self.space.names.index(name)) for name in entry.scope]
            total += self._checked(entry, entry.price(grid[:, order]))
        return Term(scope, total.reshape(shape))

    @staticmethod
    def _checked(entry: CostEntry, prices: Costs) -> Costs:
        prices = np.asarray(prices, dtype=np.float64)
        if not np.all(np.isfinite(prices)) or np.any(prices < 0):
            raise InputError(f"cost entry {entry.name!r} has a price that is negative or not finite")
        return prices

    def costs(self, indices: Widths) -> Costs:
        """Costs of many policies.

        Args:
            indices: Option numbers, shape (policies, decisions).

        Returns:
            Costs in `unit`, shape (policies,).
        """
        indices = np.asarray(indices, dtype=np.int64)
        total = np.full(len(indices), self.fixed)
        for term in self.terms:
            total += term.at(indices, self.space)
        return total

    def reprice(self, indices: Sequence[int], total: float, changes: Mapping[int, int]) -> float:
        """Cost of a policy of known cost after a few decisions have changed; microseconds a changed decision.

        Only the entries that depend on a changed decision are looked at. Sums are taken in another order than `costs`
        takes them: the last digits may differ.

        Args:
            indices: Option numbers of the policy before, by decision; a plain list is quickest.
            total: What that policy costs.
            changes: Number of a decision -> its new option number.

        Returns:
            Cost in `unit`.
        """
        new = list(indices)
        for d, option in changes.items():
            new[d] = option
        if len(changes) == 1:
            (touched,) = (self._touching[d] for d in changes)
        else:
            touched = tuple({id(look): look for d in changes for look in self._touching[d]}.values())
        for look in touched:
            total += look(new) - look(indices)
        return total

    @cached_property
    def _touching(self) -> tuple[tuple[_LookUp, ...], ...]:
        """The terms that depend on a decision, by its number."""
        touching: list[list[_LookUp]] = [[] for _ in self.space.decisions]
        for term in self.terms:
            look = _LookUp(term, self.space)
            for d in term.scope:
                touching[d].append(look)
        return tuple(map(tuple, touching))

    def marginal(self, choices: Mapping[str, int]) -> dict[str, Step]:
        """What one option less, and one more, of every decision would change.

        Args:
            choices: The policy; decisions that are not named are dense.

        Returns:
            Decision -> change of the cost in `unit`, one way and the other.
        """
        indices = [int(i) for i in self.space.indices(choices)]
        total = self.cost(choices)

        def change(d: int, option: int) -> float | None:
            if not 0 <= option < len(self.space.decisions[d].options):
                return None
            return self.reprice(indices, total, {d: option}) - total

        return {
            name: Step(change(d, indices[d] - 1), change(d, indices[d] + 1)) for d, name in enumerate(self.space.names)
        }

    @property
    def parts(self) -> tuple[SumOfTerms, ...]:
        """The cost itself."""
        return (self,)

    def finishing(self) -> Finishing:
        """The cheapest completions of policies begun."""
        return Completions(self)

    def refusal(self, limit: float) -> str:
        """Names the least reachable cost."""
        least = self.least()[0]
        return (
            f"the budget of {_figure(limit)} {self.unit} cannot be met: the least reachable is"
            f" {_figure(least)} {self.unit} ({least / self.dense:.1%} of dense)"
        )

    def spent(self, indices: Widths) -> Costs:
        """The costs."""
        return self.costs(indices)


def _figure(value: float) -> str:
    return f"{value:.4g}" if value < 1e4 else f"{value:,.0f}"
