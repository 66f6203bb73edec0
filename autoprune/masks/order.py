"""In which order columns stand, so that N of every M neighbours keep the most.

A local search over exchanges of two columns. What an exchange brings needs no trial: where column `b` takes the place
of `a` in a group, a row keeps its N - 1 largest of the others, and the larger of `b` and the N-th. So one table of
(columns, columns) holds the value of all exchanges, and after an exchange only the lines of two groups change.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.masks.n_of_m import NofM, grouped

__all__ = ["Order", "best_order", "kept_of"]

ESCAPES = 20
"""Restarts from a disturbed optimum where there is time; more brought under 0.1 % in trials."""

_BLOCK = 4_000_000  # elements of the largest intermediate tensor, 32 MB of float64
_LEAST = 1e-9  # of the kept total: smaller gains are rounding, and would exchange columns for ever


@dataclass(frozen=True)
class Order:
    """An order of columns.

    Attributes:
        places: (columns,) int64: column `places[i]` comes to place i.
        before: What the pattern kept in the order as it was: a sum of saliencies.
        after: What it keeps now.
        complete: Whether the search ended by itself, and not because its time was up: then it is the same every time.
    """

    places: Tensor
    before: float
    after: float
    complete: bool


def kept_of(saliency: Tensor, pattern: NofM) -> float:
    """The sum of the saliencies that a pattern keeps of (rows, columns)."""
    return float(_kept(grouped(saliency.double()[None], pattern.m, 0)[0], pattern.n).sum())


def best_order(saliency: Tensor, pattern: NofM, seconds: float = 10.0, escapes: int = ESCAPES) -> Order:
    """The best order of columns that a local search finds. It never keeps less than the order as it is.

    Args:
        saliency: Non-negative, (rows, columns).
        pattern: Which groups the columns fall into. A smaller last group stays as small.
        seconds: When the search must end, checked after each round of exchanges.
        escapes: How often it goes on from its best order, disturbed.
    """
    end = time.monotonic() + seconds
    matrix = saliency.detach().to("cpu", torch.float64)
    columns = matrix.shape[1]
    before = kept_of(matrix, pattern)
    places, complete = _climbed(matrix, torch.arange(columns), pattern, end)
    best, after = places, kept_of(matrix[:, places], pattern)
    draws = torch.Generator().manual_seed(0)
    for _ in range(escapes if columns > pattern.m > pattern.n else 0):
        if not complete:
            break
        places, complete = _climbed(matrix, _disturbed(best, draws), pattern, end)
        kept = kept_of(matrix[:, places], pattern)
        if kept > after * (1 + _LEAST):
            best, after = places, kept
    if after <= before * (1 + _LEAST):
        return Order(torch.arange(columns), before, before, complete)
    return Order(best, before, after, complete)


def _climbed(matrix: Tensor, places: Tensor, pattern: NofM, end: float) -> tuple[Tensor, bool]:
    """Exchanges columns while that helps; (the order, whether no exchange helps any more)."""
    n, m, columns = pattern.n, pattern.m, matrix.shape[1]
    if columns <= m or n == m:
        return places, True
    current, places = matrix[:, places], places.clone()
    group = torch.arange(columns) // m
    value = _exchange_values(current, pattern, torch.arange(columns))
    while time.monotonic() < end:
        kept = _kept(grouped(current[None], m, 0)[0], n).sum(dim=0)
        gains = value + value.T - kept[group][:, None] - kept[group][None, :]
        gains[group[:, None] >= group[None, :]] = 0
        pairs = _disjoint(gains, group, float(kept.sum()) * _LEAST)
        if not pairs:
            return places, True
        here, there = torch.tensor(pairs).T
        both, other = torch.cat([here, there]), torch.cat([there, here])
        places[both], current[:, both] = places[other], current[:, other]
        value[:, both] = value[:, other]  # another column is offered there; the groups that changed follow
        changed = torch.isin(group, group[both]).nonzero()[:, 0]
        value[changed] = _exchange_values(current, pattern, changed)
    return places, False


def _disjoint(gains: Tensor, group: Tensor, least: float) -> list[tuple[int, int]]:
    """The best exchanges of which no two touch one group."""
    columns = gains.shape[1]
    best, order = gains.flatten().topk(min(gains.numel(), 8 * columns))
    pairs: list[tuple[int, int]] = []
    used: set[int] = set()
    for gain, flat in zip(best.tolist(), order.tolist(), strict=True):
        if gain <= least:
            break
        a, b = divmod(flat, columns)
        touched = {int(group[a]), int(group[b])}
        if not touched & used:
            used |= touched
            pairs.append((a, b))
    return pairs


def _exchange_values(matrix: Tensor, pattern: NofM, wanted: Tensor) -> Tensor:
    """What the group of each wanted column keeps if another column is in that column's place.

    Args:
        matrix: (rows, columns) in the order as it is.
        pattern: Its groups.
        wanted: (k,) columns.

    Returns:
        (k, columns): sums over the rows.
    """
    n, m = pattern.n, pattern.m
    columns = matrix.shape[1]
    others = torch.arange(m)[None, :].expand(m, m)[~torch.eye(m, dtype=torch.bool)].reshape(m, m - 1)
    values = matrix.new_zeros(len(wanted), columns)
    for part in torch.split(matrix, max(1, _BLOCK // max(1, len(wanted) * columns))):
        groups = grouped(part[None], m, 0)[0]
        mates = groups[:, wanted // m].gather(2, others[wanted % m].expand(len(part), -1, -1))
        largest = mates.topk(n, dim=2).values  # (rows, k, n): n is below m
        values += largest[..., : n - 1].sum(dim=(0, 2))[:, None]
        values += torch.maximum(largest[..., n - 1, None], part[:, None, :]).sum(dim=0)
    return values


def _kept(groups: Tensor, n: int) -> Tensor:
    """(rows, groups, m) to what each group keeps, (rows, groups)."""
    return groups.topk(min(n, groups.shape[2]), dim=2).values.sum(dim=2)


def _disturbed(places: Tensor, draws: torch.Generator) -> Tensor:
    """A fifth of the columns, two at least, change places at random."""
    count = max(2, len(places) // 5)
    moved = torch.randperm(len(places), generator=draws)[:count]
    changed = places.clone()
    changed[moved] = places[moved[torch.randperm(count, generator=draws)]]
    return changed
