"""A policy by hardware-aware importance: what matters least goes first, until the budget is met."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoprune.agents.solvers.greedy_steps import Prices, cheapest, refilled
from autoprune.cost import CostModel
from autoprune.cost.importance import ImportanceWeights, hardware_importance

__all__ = ["least_important"]

Indices = NDArray[np.int64]


def least_important(
    prices: Prices, energy: CostModel | None, weights: ImportanceWeights, limit: float
) -> dict[str, int]:
    """From dense, the step of least importance again and again; what the last one saved too much is spent again.

    A step is the nearest narrower option of a decision that saves something: on hardware the next one down may not.
    Loss, savings and energy of a step are per unit removed, the rest of the policy as it is now.

    Args:
        prices: Costs and predicted losses.
        energy: What policies take of it; None where gamma is 0.
        weights: What counts how much.
        limit: What the policy may cost at most, in the cost's unit.

    Returns:
        Kept units by decision.

    Raises:
        BudgetError: If no policy meets the limit.
    """
    cost, space = prices.cost, prices.cost.space
    indices = space.indices({})
    while float(cost.costs(indices[None])[0]) > limit:
        rows, removed = _steps(prices, indices, limit)
        if not len(rows):
            indices = cheapest(cost, limit)
            break
        lost = prices.curves.of(rows) - float(prices.curves.of(indices[None])[0])
        saved = float(cost.spent(indices[None])[0]) - cost.spent(rows)
        less = np.zeros(len(rows)) if energy is None else float(energy.costs(indices[None])[0]) - energy.costs(rows)
        loss, time, power = ((each / removed).tolist() for each in (np.maximum(lost, 0.0), saved, less))
        indices = rows[int(np.argmin(hardware_importance(loss, time, power, weights)))]
    return space.choices(refilled(prices, limit, indices))


def _steps(prices: Prices, indices: Indices, limit: float) -> tuple[Indices, NDArray[np.float64]]:
    """For every decision its nearest narrower option that saves: policies (n, decisions), and units removed, (n,)."""
    cost = prices.cost
    now = float(cost.excess(indices[None], limit)[0])
    found, removed = [], []
    for d, option in enumerate(indices.tolist()):
        options = cost.space.decisions[d].options
        rows = np.repeat(indices[None], option, axis=0)
        rows[:, d] = np.arange(option)[::-1]
        rows = prices.canonical(rows)
        saves = np.flatnonzero(now - cost.excess(rows, limit) > 1e-12 * max(now, cost.dense))
        if len(saves):
            found.append(rows[saves[0]])
            removed.append(float(options[option] - options[option - 1 - int(saves[0])]))
    return np.array(found, dtype=np.int64).reshape(len(found), len(indices)), np.array(removed)
