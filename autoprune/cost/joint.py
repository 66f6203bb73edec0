"""Several limits at once, as one cost: the share of its limit that the tightest of them takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.base import CostModel, Finishing
from autoprune.cost.joint_completion import JointCompletions
from autoprune.cost.terms import Costs, SumOfTerms, Term, Widths
from autoprune.errors import InputError
from autoprune.run.report import SEVERAL
from autoprune.space import SearchSpace

__all__ = ["JointCost", "Limited"]

_ABOVE = float(np.nextafter(1.0, 2.0))


@dataclass(frozen=True, eq=False)
class Limited:
    """A cost and what it may be at most.

    Attributes:
        name: What people call the budget: `latency<=50%`.
        cost: Prices policies.
        limit: In the cost's unit, above 0.

    Raises:
        InputError: If the limit is not above 0.
    """

    name: str
    cost: AdditiveCost
    limit: float

    def __post_init__(self) -> None:
        if not self.limit > 0 or not np.isfinite(self.limit):
            raise InputError(f"the limit of {self.name} must be a number above 0, not {self.limit}")

    def shares(self, indices: Widths) -> Costs:
        """Costs as shares of the limit, shape (policies,): 1 or below exactly where the limit is met."""
        costs = self.cost.costs(indices)
        shares: Costs = costs / self.limit
        return np.where(costs <= self.limit, np.minimum(shares, 1.0), np.maximum(shares, _ABOVE))


@dataclass(frozen=True, eq=False)
class _Share:
    """A cost in shares of its limit, as a sum of terms."""

    limited: Limited
    space: SearchSpace
    fixed: float
    terms: tuple[Term, ...]

    @classmethod
    def of(cls, limited: Limited) -> _Share:
        """Every term divided by the limit; those that are too large for a table stay entries."""
        cost, limit = limited.cost, limited.limit
        terms = tuple(_divided(term, limit) for term in cost.terms)
        return cls(limited, cost.space, cost.fixed / limit, terms)

    def costs(self, indices: Widths) -> Costs:
        """Shares of the limit of option numbers, shape (policies,)."""
        return self.limited.shares(indices)


def _divided(term: Term, limit: float) -> Term:
    if term.table is not None:
        return replace(term, table=term.table / limit)
    entries = tuple(replace(entry, price=_DividedPrice(entry.price, limit)) for entry in term.entries)
    return replace(term, entries=entries)


@dataclass(frozen=True)
class _DividedPrice:
    """A price divided by a limit; picklable."""

    price: Callable[[Widths], Costs]
    limit: float

    def __call__(self, kept: Widths) -> Costs:
        return self.price(kept) / self.limit


class JointCost(CostModel):
    """What a policy takes of several limits: the largest of the shares, so that 1 or less meets all of them.

    Args:
        limits: At least two, of one search space.

    Raises:
        InputError: If there are fewer, or they price different search spaces.
    """

    kind = SEVERAL
    unit = "of the tightest budget"

    def __init__(self, limits: Sequence[Limited]) -> None:
        if len(limits) < 2 or any(each.cost.space.decisions != limits[0].cost.space.decisions for each in limits):
            raise InputError("a joint cost is of two limits or more, on one search space")
        self.limits = tuple(limits)
        self.space = limits[0].cost.space

    @cached_property
    def parts(self) -> tuple[SumOfTerms, ...]:
        """The costs, each in shares of its limit."""
        return tuple(_Share.of(each) for each in self.limits)

    def costs(self, indices: Widths) -> Costs:
        """The largest share of a limit that each policy takes, shape (policies,)."""
        largest: Costs = np.max([each.shares(indices) for each in self.limits], axis=0)
        return largest

    @cached_property
    def _completions(self) -> JointCompletions:
        return JointCompletions(self.parts, self.costs)

    def finishing(self) -> Finishing:
        """Completions that keep all limits, as far as they are found."""
        return self._completions

    def refusal(self, limit: float) -> str:
        """What the best policy takes of each limit, and whether it is proven that none takes less of the tightest."""
        _, choices = self.least()
        taken = ", ".join(f"{each.name} {each.cost.cost(choices) / each.limit:.1%}" for each in self.limits)
        what = "cannot be met" if self._completions.bound > limit else "could not be met by any policy that was found"
        return f"the budgets together {what}; of the limits, the nearest policy takes {taken}"
