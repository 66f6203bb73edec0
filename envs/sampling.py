"""Policies on the budget's surface.

Under a one-sided action mask, uniformly random actions end far below the budget (at 50 % of the multiply-accumulates
the median random episode keeps 29 %), because keeping half of the units of two neighbours costs a quarter. A search
that starts there learns about networks that are smaller than wanted. The policies drawn here spend the budget.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autoprune.cost import CostModel
from autoprune.errors import BudgetError
from autoprune.space import SearchSpace

__all__ = ["drawn_limit", "largest_uniform", "spend_budget", "top_up"]

Indices = NDArray[np.int64]

_LADDER = np.concatenate([[0.0], np.geomspace(1 / 64, 64, 97)])  # exponents, from dense to nearly nothing


def spend_budget(
    cost: CostModel, limit: float, rng: np.random.Generator, *, fallback: Mapping[str, int] | None = None
) -> dict[str, int]:
    """A random policy within the limit that cannot grow any more.

    A direction is drawn (a share of units for every decision, alike or spread widely), then one exponent for all
    shares is turned until the policy just fits, then what rounding has left is spent in random order. Every decision
    is treated alike, so late layers are not starved.

    Args:
        cost: Prices policies.
        limit: What a policy may cost at most, in the cost's unit; `math.inf` draws a limit first, anywhere from the
            cheapest policy's cost to the dense network's.
        rng: Where all randomness comes from.
        fallback: Choices known to meet the limit, where scaling finds none; the cheapest policy if not given.

    Returns:
        Kept units by decision: priced within `limit`, and no single decision can be raised by one option without
        leaving it.

    Raises:
        BudgetError: If no policy meets the limit.
    """
    space = cost.space
    if np.isinf(limit):
        limit = drawn_limit(cost, rng, fallback)
    spread = rng.uniform()  # how far from a uniform policy is drawn too, so that both kinds are seen
    shares = 0.5 + spread * (rng.uniform(1e-3, 1.0, size=len(space)) - 0.5)
    blocks = np.array([decision.traits.gates for decision in space.decisions], dtype=np.bool_)
    if blocks.any():  # how many go is drawn by itself, up to the share that has to be saved; the widths pay the rest
        drop = rng.uniform() * max(0.0, 1.0 - limit / cost.dense)
        shares[blocks] = np.where(rng.uniform(size=int(blocks.sum())) < drop, 0.0, 1.0)
    indices = _scale(cost, limit, shares)
    if indices is None:
        indices = space.indices(_feasible(cost, limit) if fallback is None else fallback)
    return space.choices(top_up(cost, limit, indices, rng))


def drawn_limit(cost: CostModel, rng: np.random.Generator, fallback: Mapping[str, int] | None = None) -> float:
    """A random limit, anywhere from the cheapest policy's cost to the dense network's, in the cost's unit.

    Args:
        cost: Prices policies.
        rng: Where the randomness comes from.
        fallback: The cheapest policy, if it is known.
    """
    least = cost.least()[0] if fallback is None else cost.cost(fallback)
    return max(least, float(rng.uniform(least, max(least, cost.dense))))


def top_up(cost: CostModel, limit: float, indices: Indices, rng: np.random.Generator) -> Indices:
    """Raise decisions by one option each, in random order, until no raise stays within the limit.

    Widths first: a dropped block comes back only if all that is left has its full width, or nothing else fits.

    Args:
        cost: Prices policies.
        limit: What the policy may cost at most.
        indices: Option numbers of a policy within the limit, shape (D,).
        rng: Draws the order.

    Returns:
        Option numbers, shape (D,), each at least as large as before.
    """
    space = cost.space
    sizes = np.array([len(decision.options) for decision in space.decisions])
    blocks = np.array([decision.traits.gates for decision in space.decisions], dtype=np.bool_)
    indices = indices.copy()
    while (raised := _raised(cost, limit, indices, ~blocks, rng)) is not None or (
        raised := _raised(cost, limit, indices, blocks, rng)
    ) is not None:
        indices = raised
    dense = np.where(_alive(space, indices), indices, sizes - 1)
    return dense if np.array_equal(dense, indices) else top_up(cost, limit, dense, rng)


def _raised(
    cost: CostModel, limit: float, indices: Indices, among: NDArray[np.bool_], rng: np.random.Generator
) -> Indices | None:
    """One decision of some raised by one option; None if none can be."""
    sizes = np.array([len(decision.options) for decision in cost.space.decisions])
    raisable = np.flatnonzero((indices + 1 < sizes) & among & _alive(cost.space, indices))
    trials = np.repeat(indices[None], len(raisable), axis=0)
    trials[np.arange(len(raisable)), raisable] += 1
    fits = np.flatnonzero(cost.costs(trials) <= limit)
    return np.asarray(trials[rng.choice(fits)]) if len(fits) else None


def _alive(space: SearchSpace, indices: Indices) -> NDArray[np.bool_]:
    """Which decisions change anything, shape (D,): those within dropped blocks do not."""
    taken = {d.name: d.options[int(i)] for d, i in zip(space.decisions, indices, strict=True)}
    return np.array([decision.matters(taken) for decision in space.decisions], dtype=np.bool_)


def largest_uniform(cost: CostModel, limit: float) -> dict[str, int] | None:
    """The uniform policy with the largest ratio that meets the limit, all blocks kept; None if no ratio does.

    All ratios are tried, since a smaller ratio need not be cheaper: on hardware, 63 channels are slower than 64.

    Args:
        cost: Prices policies.
        limit: What the policy may cost at most, in the cost's unit.
    """
    edges = [_uniform_edges(cost.space, d) for d in range(len(cost.space))]
    ratios = np.unique(np.concatenate([[0.0], *edges]))[::-1]
    rows = np.stack([np.searchsorted(edge, ratios, side="right") for edge in edges], axis=1)
    fits = np.flatnonzero(cost.costs(rows) <= limit)
    return cost.space.choices(rows[fits[0]]) if len(fits) else None


def _uniform_edges(space: SearchSpace, decision: int) -> NDArray[np.float64]:
    """The same for a uniform policy: some kinds keep everything at every ratio, some nothing below 1."""
    traits, count = space.decisions[decision].traits, len(space.decisions[decision].options) - 1
    fixed = {"keep": np.zeros(count), "least": np.ones(count)}
    return fixed[traits.uniform] if traits.uniform in fixed else _edges(space, decision)


def _edges(space: SearchSpace, decision: int) -> NDArray[np.float64]:
    """The ratios at which rounding to the nearest option moves on to the next one."""
    options = np.asarray(space.decisions[decision].options, dtype=np.float64)
    edges: NDArray[np.float64] = (options[1:] + options[:-1]) / 2 / options[-1]
    return edges


def _scale(cost: CostModel, limit: float, shares: NDArray[np.float64]) -> Indices | None:
    """The largest policy `shares ** exponent` within the limit, rounded to options; None if there is none.

    An exponent keeps shares inside (0, 1], where a factor would pile them up at 1. Two rounds over a ladder of
    exponents rather than bisection: the cost need not be monotone, and all rungs are priced at once.
    """
    edges = [_edges(cost.space, d) for d in range(len(cost.space))]
    ladder, found = _LADDER, None
    for _ in range(2):
        scaled = shares[None] ** ladder[:, None]
        rows = np.stack([np.searchsorted(e, scaled[:, d], side="right") for d, e in enumerate(edges)], axis=1)
        fits = np.flatnonzero(cost.costs(rows) <= limit)
        if not len(fits):
            return found
        first = fits[0]
        found = rows[first]
        ladder = np.linspace(ladder[max(first - 1, 0)], ladder[first], 32)
    return found


def _feasible(cost: CostModel, limit: float) -> dict[str, int]:
    least, choices = cost.least()
    if not least <= limit:
        raise BudgetError(cost.refusal(limit), least)
    return choices
