"""Narrow and widen a policy step by step, by predicted loss against cost. Pure functions of their arguments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.cost import CostModel
from autoprune.envs import Curves, PruningEnv
from autoprune.errors import BudgetError

__all__ = ["Prices", "cheapest", "greedy", "narrowed", "refilled"]

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prices:
    """What policies cost, and what they are predicted to lose.

    Attributes:
        cost: Prices policies.
        curves: Predicts losses of score.
    """

    cost: CostModel
    curves: Curves

    @classmethod
    def of(cls, env: PruningEnv) -> Prices:
        """Those of an environment; without curves every unit is assumed to be worth the same."""
        return cls(env.cost, Curves.assumed(env.space) if env.curves is None else env.curves)

    def canonical(self, rows: Indices) -> Indices:
        """Option numbers with decisions inside of dropped blocks whole, shape (policies, decisions)."""
        space = self.cost.space
        if not any(decision.within for decision in space.decisions):
            return rows
        return np.stack([space.indices(space.choices(row)) for row in rows]) if len(rows) else rows

    def single_changes(self, indices: Indices, *, wider: bool) -> Indices:
        """Policies in which one decision takes a wider, or a narrower, option; shape (policies, decisions).

        Of a decision with many options not all: the 16 nearest, then twice as far each, and the last one. Narrower
        ones are in steps of a 64th of the options; what that cuts too much, widening gives back.
        """
        sizes = [len(decision.options) for decision in self.cost.space.decisions]
        ranges = [
            [i + step for step in _steps(n - 1 - i, 1)] if wider else [i - step for step in _steps(i, max(1, n // 64))]
            for i, n in zip(indices.tolist(), sizes, strict=True)
        ]
        owner = np.repeat(np.arange(len(sizes)), [len(r) for r in ranges])
        rows = np.repeat(indices[None], len(owner), axis=0)
        rows[np.arange(len(owner)), owner] = [option for each in ranges for option in each]
        return self.canonical(rows)


def greedy(prices: Prices, limit: float) -> dict[str, int]:
    """From dense, the step with the least predicted loss per saved cost, again and again until the limit is met.

    A step is a narrower option of one decision, near or far: on hardware the next one down may save nothing. What the
    last step saved too much is then spent again (`refilled`).

    Args:
        prices: Costs and predicted losses.
        limit: What the policy may cost at most, in the cost's unit.

    Returns:
        Kept units by decision.

    Raises:
        BudgetError: If no policy meets the limit.
    """
    start = prices.cost.space.indices({})
    return prices.cost.space.choices(refilled(prices, limit, narrowed(prices, limit, start)))


def narrowed(prices: Prices, limit: float, indices: Indices) -> Indices:
    """A policy narrowed step by step until it meets the limit; the cheapest of the space where steps do not reach it.

    Args:
        prices: Costs and predicted losses.
        limit: In the cost's unit.
        indices: Option numbers to start from, canonical, shape (decisions,).

    Raises:
        BudgetError: If no policy meets the limit.
    """
    cost = prices.cost
    while (now := _one(cost, indices)) > limit:
        rows = prices.single_changes(indices, wider=False)
        # Of steps that save more than is needed, only what is needed counts.
        saved = float(cost.excess(indices[None], limit)[0]) - cost.excess(rows, limit)
        lost = prices.curves.of(rows) - float(prices.curves.of(indices[None])[0])
        useful = np.flatnonzero(saved > 1e-12 * max(now, cost.dense))
        if not len(useful):
            return cheapest(cost, limit)
        indices = rows[useful[int(np.argmin(lost[useful] / saved[useful]))]]
    return indices


def refilled(prices: Prices, limit: float, indices: Indices) -> Indices:
    """A policy within the limit widened by what regains most per cost, until no such change of one decision fits.

    Args:
        prices: Costs and predicted losses.
        limit: In the cost's unit.
        indices: Option numbers, canonical, shape (decisions,).
    """
    cost = prices.cost
    while True:
        rows = prices.single_changes(indices, wider=True)
        fits = np.flatnonzero(cost.costs(rows) <= limit)
        if not len(fits):
            return indices
        added = cost.spent(rows[fits]) - float(cost.spent(indices[None])[0])
        regained = float(prices.curves.of(indices[None])[0]) - prices.curves.of(rows[fits])
        per_added = regained / np.maximum(added, 1e-12 * cost.dense)
        best = int(np.argmax(per_added))
        if regained[best] < 0:  # a block that comes back with all its decisions whole never loses; to be sure
            return indices
        indices = rows[fits[best]]


def _steps(most: int, unit: int) -> list[int]:
    """How many options further, at most `most`: the nearest 16 in `unit`s, doubled ones, and `most` itself.

    >>> _steps(3, 1), _steps(100, 1)[-4:]
    ([1, 2, 3], [16, 32, 64, 100])
    """
    near = [unit * k for k in range(1, 17)]
    far = [unit * 2**k for k in range(5, 21)]
    return [step for step in (*near, *far) if step < most] + ([most] if most else [])


def _one(cost: CostModel, indices: Indices) -> float:
    return float(cost.costs(indices[None])[0])


def cheapest(cost: CostModel, limit: float) -> Indices:
    """The cheapest policy, where steps do not reach the limit.

    Raises:
        BudgetError: If no policy meets the limit.
    """
    least, choices = cost.least()
    if not least <= limit:
        raise BudgetError(cost.refusal(limit), least)
    return cost.space.indices(choices)
