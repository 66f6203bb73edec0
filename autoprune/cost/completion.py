"""The cheapest way to finish a policy whose first decisions are taken.

Entries depend on few decisions each, so the minimum over all completions is found by bucket elimination
(Dechter 1999), last decision first: exact, and one table look-up a question afterwards. Networks whose entries
couple too many decisions (wide concats) fall back to coordinate descent, whose completions are real but perhaps
not the cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.terms import SumOfTerms, Term

__all__ = ["Completions", "descend"]

Indices = NDArray[np.int64]
Costs = NDArray[np.float64]

_BUCKET_LIMIT = 1 << 22  # cells of the largest joint table that elimination may build


class Completions:
    """Answers, for any prefix of option numbers, what the cheapest completion is.

    Attributes:
        exact: Whether the answers are minima over all completions; if not, they are upper bounds of them.
    """

    def __init__(self, cost: SumOfTerms) -> None:
        self.cost = cost
        self.sizes = [len(decision.options) for decision in cost.space.decisions]
        self.exact = self._eliminate()
        self._cheap: Indices | None = None
        if not self.exact:
            self._cheap = self._descend(cost.space.indices({})[None], 0, -np.inf)[0][0]

    def _eliminate(self) -> bool:
        """Build the buckets; False if one of them would be too large."""
        count = len(self.sizes)
        pending: list[list[Term]] = [[] for _ in range(count)]
        for term in self.cost.terms:
            pending[term.scope[-1]].append(term)
        self._buckets: list[Term] = [Term((), None)] * count
        self._messages: list[Term | None] = [None] * count
        for d in reversed(range(count)):
            scope = tuple(sorted({d}.union(*(term.scope for term in pending[d]))))
            if prod(self.sizes[s] for s in scope) > _BUCKET_LIMIT or any(t.table is None for t in pending[d]):
                return False
            joint = np.zeros([self.sizes[s] for s in scope])
            for term in pending[d]:
                joint += _spread(term, scope)
            self._buckets[d] = Term(scope, joint)
            message = Term(scope[:-1], joint.min(axis=-1))
            self._messages[d] = message
            if message.scope:
                pending[message.scope[-1]].append(message)
        return True

    def ahead(self, prefix: Indices, known: Indices, limit: float) -> tuple[Costs, Indices | None]:
        """What each option of the next decision can still come to.

        Args:
            prefix: Option numbers of the decisions taken so far, shape (t,) with t below the number of decisions.
            known: A full policy that starts with `prefix`, shape (decisions,); its tail is one completion.
            limit: Where not exact, no cheaper completion is looked for than one that costs this much.

        Returns:
            Cost of the cheapest known completion of each option, shape (options,), and, where not exact, those
            completions, shape (options, decisions).
        """
        t = len(prefix)
        if self.exact:
            return self._before(prefix) + self._line(t, prefix), None
        options = np.arange(self.sizes[t])[:, None]
        policies, costs = self._finish(
            np.hstack([np.repeat(prefix[None], len(options), axis=0), options]), known, limit
        )
        return costs, policies

    def _before(self, prefix: Indices) -> float:
        """What no option of the next decision changes: decided entries, and later minima that look past it."""
        t, row = len(prefix), prefix[None]
        decided = sum(float(term.at(row, self.cost.space)[0]) for term in self.cost.terms if term.scope[-1] < t)
        later = (
            m for d, m in enumerate(self._messages) if m is not None and d > t and (not m.scope or m.scope[-1] < t)
        )
        return (
            self.cost.fixed
            + decided
            + sum(float(m.table[tuple(prefix[s] for s in m.scope)]) for m in later if m.table is not None)
        )

    def _line(self, d: int, taken: Indices) -> Costs:
        table = self._buckets[d].table
        assert table is not None  # elimination succeeded
        return np.asarray(table[tuple(taken[s] for s in self._buckets[d].scope[:-1])])

    def best(self, prefix: Indices, known: Indices | None = None) -> Indices:
        """The cheapest known full policy that starts with `prefix`, as option numbers of shape (decisions,)."""
        if not self.exact:
            return np.asarray(self._finish(prefix[None], known, -np.inf)[0][0])
        return np.asarray(self.finished(prefix[None])[0])

    def finished(self, prefixes: Indices) -> Indices:
        """The cheapest completion of each of several prefixes of one length; only where exact.

        Args:
            prefixes: Shape (n, t).

        Returns:
            Shape (n, decisions).
        """
        n, t = prefixes.shape
        full = np.hstack([prefixes, np.zeros((n, len(self.sizes) - t), dtype=np.int64)])
        for d in range(t, len(self.sizes)):
            bucket = self._buckets[d]
            assert bucket.table is not None  # elimination succeeded
            full[:, d] = bucket.table[tuple(full[:, s] for s in bucket.scope[:-1])].argmin(axis=-1)
        return full

    def _finish(self, prefixes: Indices, known: Indices | None, limit: float) -> tuple[Indices, Costs]:
        """The best of the known's own tail and the cheapest policy's, and of descent where both exceed the limit.

        Args:
            prefixes: Shape (n, t).
            known: Shape (decisions,), or None.
            limit: Descent takes hundreds of prices, so what costs no more than this is left as it is.

        Returns:
            Policies of shape (n, decisions) and their costs, shape (n,).
        """
        n, t = prefixes.shape
        tails = np.stack([tail[t:] for tail in (known, self._cheap) if tail is not None])
        starts = np.concatenate(
            [np.repeat(prefixes[None], len(tails), axis=0), np.repeat(tails[:, None], n, axis=1)], axis=2
        ).astype(np.int64)
        prices = self.cost.costs(starts.reshape(-1, starts.shape[2])).reshape(len(tails), n)
        chosen = prices.argmin(axis=0), np.arange(n)
        policies, costs = starts[chosen], prices[chosen]
        short = np.flatnonzero(costs > limit)
        if len(short):
            lower, values = self._descend(starts[-1][short], t, limit)
            better = values < costs[short]
            policies[short[better]], costs[short[better]] = lower[better], values[better]
        return policies, costs

    def _descend(self, starts: Indices, first: int, limit: float) -> tuple[Indices, Costs]:
        return descend(self.cost.costs, self.sizes, starts, first, limit)


def descend(
    price: Callable[[Indices], Costs], sizes: Sequence[int], starts: Indices, first: int, limit: float
) -> tuple[Indices, Costs]:
    """Coordinate descent over the decisions from `first` on, of many policies at once.

    Each goes on until no single change makes it cheaper, or a round has brought it within the limit.

    Args:
        price: Prices option numbers of shape (policies, decisions).
        sizes: How many options each decision has.
        starts: Shape (n, decisions).
        first: Decisions before this one stay.
        limit: In the cost's unit.

    Returns:
        Policies of shape (n, decisions) and their costs, shape (n,).
    """
    policies, values = starts.copy(), price(starts)
    active = np.arange(len(starts))
    while len(active):
        before = values[active]
        for d in range(first, len(sizes)):
            trials = np.repeat(policies[active], sizes[d], axis=0)
            trials[:, d] = np.tile(np.arange(sizes[d]), len(active))
            prices = price(trials).reshape(len(active), sizes[d])
            better = prices.min(axis=1) < values[active]
            policies[active[better], d] = prices.argmin(axis=1)[better]
            values[active[better]] = prices.min(axis=1)[better]
        active = active[(values[active] < before) & (values[active] > limit)]
    return policies, values


def _spread(term: Term, scope: tuple[int, ...]) -> Costs:
    """The term's table with an axis of length one for every decision of `scope` that it does not have."""
    table = term.table
    assert table is not None  # checked by the caller
    size = dict(zip(term.scope, table.shape, strict=True))
    return table.reshape([size.get(s, 1) for s in scope])
