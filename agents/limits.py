"""The limits of a search for the whole front of score and cost."""

from __future__ import annotations

from autoprune.cost import CostModel

__all__ = ["limit_of"]


def limit_of(k: int, cost: CostModel, limit: float) -> float:
    """What episode `k` may cost: evenly spread between the budget and the dense cost, however many episodes there are.

    The episodes follow van der Corput's sequence (0, 1/2, 1/4, 3/4, 1/8, ...), so that a search that is stopped has
    looked everywhere, and the first episode is within the budget.

    Args:
        k: The episode's number.
        cost: Prices policies.
        limit: The budget, the low end; without one (infinite), the cheapest policy's cost.

    Returns:
        In the cost's unit.
    """
    low = min(limit, max(cost.dense, cost.least()[0])) if limit < float("inf") else cost.least()[0]
    return low + _van_der_corput(k) * max(0.0, cost.dense - low)


def _van_der_corput(k: int) -> float:
    """The binary digits of `k`, mirrored at the point."""
    digits = f"{k:b}"
    return int(digits[::-1], 2) / float(1 << len(digits))
