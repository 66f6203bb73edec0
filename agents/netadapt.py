"""NetAdapt's step: which decision, shrunk how far, takes so much off the cost.

Yang, Howard, Chen, Zhang, Go, Sandler, Sze, Adam: NetAdapt, ECCV 2018, Algorithm 1. Only costs are computed here;
the caller scores the proposals and picks the most accurate one. Equal inputs give equal proposals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.base import CostModel
from autoprune.errors import InputError

__all__ = ["LEAST_REDUCTION", "Proposal", "proposals", "reduction_share"]

LEAST_REDUCTION = 0.25
"""A decayed step is never less than this share of the first one."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Proposal:
    """One way to take a step.

    Attributes:
        choices: Kept units of every decision.
        cost: What they are predicted to cost, in the cost model's unit.
        shrunk: The decisions that are narrower than before, in forward order; one, unless no single one reaches.
    """

    choices: dict[str, int]
    cost: float
    shrunk: tuple[str, ...]


def reduction_share(step: int, first: float, decay: float) -> float:
    """How much step number `step` (from 0) must take off, as a share of the dense cost: first * decay**step.

    The paper has no lower bound, and then a small first step never arrives: 2.5 % with a decay of 0.96 add up to
    62.5 %. Here a step stays at `LEAST_REDUCTION` of the first one or above.

    >>> round(reduction_share(1, 0.05, 0.96), 4), reduction_share(999, 0.04, 0.96)
    (0.048, 0.01)

    Raises:
        InputError: If a share is not in (0, 1), or the decay not in (0, 1].
    """
    if not (0 < first < 1 and 0 < decay <= 1 and step >= 0):
        raise InputError(f"a step needs a share in (0, 1) and a decay in (0, 1], not {first} and {decay}")
    return first * max(decay**step, LEAST_REDUCTION)


def proposals(cost: CostModel, current: Mapping[str, int], reduction: float) -> list[Proposal]:
    """Every way to take `reduction` off the cost of a policy by narrowing one decision, as little as will do.

    For each decision: the largest width below its present one that alone brings the cost to cost(current) - reduction
    (the paper's ChooseNumFilters). Where no single decision does, every decision in turn is shrunk to its cheapest
    width, and the cheapest further ones with it, until one more decision reaches the rest. Nothing is ever widened.

    Args:
        cost: Prices policies.
        current: The policy now; decisions that are not named are dense.
        reduction: In the cost's unit, above 0.

    Returns:
        Different policies, each of which costs at most cost(current) - reduction; none if that is out of reach.

    Raises:
        InputError: If the reduction is not above 0.
    """
    if not reduction > 0:
        raise InputError(f"a step must take something off the cost, not {reduction}")
    start = cost.space.indices(current)
    wanted = _price(cost, start) - reduction
    found = [indices for indices in _alone(cost, start, wanted) if indices is not None]
    if not found:
        combined = (_combined(cost, start, first, wanted) for first in range(len(start)))
        found = [indices for indices in combined if indices is not None]
    if not found:
        found = _least(cost, start, wanted)
    different = {tuple(indices.tolist()): indices for indices in found}
    return [_proposal(cost, start, indices) for indices in different.values()]


def _price(cost: CostModel, indices: Indices) -> float:
    return float(cost.costs(indices[None])[0])


def _narrower(cost: CostModel, start: Indices) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """All policies in which one decision is narrower: its number, its option, the price; shape (policies,) each."""
    owner = np.repeat(np.arange(len(start)), start)
    option = np.concatenate([np.arange(n) for n in start]).astype(np.int64) if len(owner) else owner
    rows = np.repeat(start[None], len(owner), axis=0)
    rows[np.arange(len(owner)), owner] = option
    return owner, option, cost.costs(rows)


def _alone(cost: CostModel, start: Indices, wanted: float) -> list[Indices | None]:
    """For each decision the policy with its largest narrower width that costs at most `wanted`; None without one."""
    owner, option, prices = _narrower(cost, start)
    found: list[Indices | None] = []
    for number in range(len(start)):
        reach = option[(owner == number) & (prices <= wanted)]
        found.append(_with(start, number, int(reach.max())) if len(reach) else None)
    return found


def _combined(cost: CostModel, start: Indices, first: int, wanted: float) -> Indices | None:
    """Decision `first` at its cheapest, then the one that saves most, and so on; the last one as wide as will do."""
    owner, option, prices = _narrower(cost, start)
    mine = np.flatnonzero(owner == first)
    indices, price = start, _price(cost, start)
    while len(mine):
        best = mine[int(np.argmin(prices[mine]))]
        if not prices[best] < price:
            break
        indices, price = _with(indices, int(owner[best]), int(option[best])), float(prices[best])
        ends = [found for found in _alone(cost, indices, wanted) if found is not None]
        if ends:
            return max(ends, key=lambda found: _price(cost, found))  # overshoots least
        owner, option, prices = _narrower(cost, indices)
        mine = np.arange(len(owner))
    return None


def _least(cost: CostModel, start: Indices, wanted: float) -> list[Indices]:
    """The cheapest policy of the space, nothing wider than now: on stairs it may reach what no single saving hints."""
    _, choices = cost.least()
    indices = np.minimum(start, cost.space.indices(choices))
    return [indices] if _price(cost, indices) <= wanted else []


def _with(indices: Indices, number: int, option: int) -> Indices:
    changed = indices.copy()
    changed[number] = option
    return changed


def _proposal(cost: CostModel, start: Indices, indices: Indices) -> Proposal:
    names = cost.space.names
    shrunk = tuple(names[number] for number in np.flatnonzero(indices < start))
    return Proposal(cost.space.choices(indices), _price(cost, indices), shrunk)
