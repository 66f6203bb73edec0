"""The parts of a cost that is a sum: entries, each of which depends on few decisions, and terms, tabulated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autoprune.space import SearchSpace

__all__ = ["CostEntry", "Costs", "SumOfTerms", "Term", "Widths", "owned_by"]

Widths = NDArray[np.int64]
Costs = NDArray[np.float64]


@dataclass(frozen=True)
class CostEntry:
    """One part of a network's cost.

    Attributes:
        name: Which operator this is, for people.
        scope: Names of the decisions that the price depends on; empty for a fixed part.
        price: Kept units of shape (n, len(scope)), in the order of `scope`, to costs of shape (n,).
    """

    name: str
    scope: tuple[str, ...]
    price: Callable[[Widths], Costs]


@dataclass(frozen=True)
class Term:
    """The sum of all entries of one scope: a table over the options, or the entries themselves if it were too large.

    Attributes:
        scope: Numbers of the decisions, ascending; axis k of `table` runs over the options of `scope[k]`.
    """

    scope: tuple[int, ...]
    table: Costs | None
    entries: tuple[CostEntry, ...] = ()

    def at(self, indices: Widths, space: SearchSpace) -> Costs:
        """Prices at option numbers of shape (n, decisions)."""
        if self.table is not None:
            prices: Costs = self.table[tuple(indices[:, d] for d in self.scope)]
            return prices
        widths = {d: np.asarray(space.decisions[d].options)[indices[:, d]] for d in self.scope}
        named = {space.decisions[d].name: w for d, w in widths.items()}
        columns = (np.stack([named[name] for name in entry.scope], axis=1) for entry in self.entries)
        total = np.zeros(len(indices))
        for entry, column in zip(self.entries, columns, strict=True):
            total += entry.price(column)
        return total


class SumOfTerms(Protocol):
    """A cost that is a fixed part and a sum of terms, in one unit."""

    @property
    def space(self) -> SearchSpace:
        """The decisions that the terms' scopes count."""

    @property
    def fixed(self) -> float:
        """What no decision changes."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """The parts that depend on decisions."""

    def costs(self, indices: Widths) -> Costs:
        """Costs of option numbers of shape (policies, decisions), shape (policies,)."""


def owned_by(cost: SumOfTerms) -> Costs:
    """Dense cost by owner, shape (decisions,): a term belongs to the last decision that it depends on."""
    owned = np.zeros(len(cost.space))
    dense = cost.space.indices({})[None]
    for term in cost.terms:
        owned[term.scope[-1]] += term.at(dense, cost.space)[0]
    return owned
