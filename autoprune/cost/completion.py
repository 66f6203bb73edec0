"""The cheapest way to finish a policy whose first decisions are taken.

Entries depend on few decisions each, so the minimum over all completions is found by bucket elimination
(Dechter 1999), last decision first: exact, and one table look-up a question afterwards. Networks whose entries
couple too many decisions (wide concats) fall back to coordinate descent, whose completions are real but perhaps
not the cheapest.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.additive import AdditiveCost, Term

__all__ = ["Completions"]

Indices = NDArray[np.int64]
Costs = NDArray[np.float64]

_BUCKET_LIMIT = 1 << 22  # cells of the largest joint table that elimination may build


class Completions:
    """Answers, for any prefix of option numbers, what the cheapest completion is.

    Attributes:
        exact: Whether the answers are minima over all completions; if not, they are upper bounds of them.
    """

    def __init__(self, cost: AdditiveCost) -> None:
        self.cost = cost
        self.sizes = [len(decision.options) for decision in cost.space.decisions]
        self.exact = self._eliminate()
        self._cheap = self._descend(cost.space.indices({}), 0) if not self.exact else None

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

    def totals(self, prefix: Indices, witness: Indices) -> Costs:
        """Cost of the cheapest known completion for each option of the next decision, shape (options,).

        Args:
            prefix: Option numbers of the decisions taken so far, shape (t,) with t below the number of decisions.
            witness: A full policy that starts with `prefix`, shape (decisions,); its tail is one completion.
        """
        t = len(prefix)
        if not self.exact:
            return np.array(
                [
                    float(self.cost.costs(self._finish(np.append(prefix, o), witness)[None])[0])
                    for o in range(self.sizes[t])
                ]
            )
        return self._before(prefix) + self._line(t, prefix)

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

    def best(self, prefix: Indices, witness: Indices | None = None) -> Indices:
        """The cheapest known full policy that starts with `prefix`, as option numbers of shape (decisions,)."""
        if not self.exact:
            return self._finish(prefix, witness)
        full = list(prefix)
        for d in range(len(prefix), len(self.sizes)):
            full.append(int(np.argmin(self._line(d, np.asarray(full, dtype=np.int64)))))
        return np.asarray(full, dtype=np.int64)

    def _finish(self, prefix: Indices, witness: Indices | None) -> Indices:
        """The best of: the witness's own tail, the cheapest policy's tail, and descent from there."""
        t = len(prefix)
        tails = [tail for tail in (witness, self._cheap) if tail is not None]
        starts = [np.concatenate([prefix, tail[t:]]).astype(np.int64) for tail in tails]
        starts.append(self._descend(starts[-1], t))
        return starts[int(np.argmin(self.cost.costs(np.stack(starts))))]

    def _descend(self, start: Indices, first: int) -> Indices:
        """Coordinate descent over the decisions from `first` on, until no single change makes it cheaper."""
        current, value = start.copy(), float(self.cost.costs(start[None])[0])
        improved = True
        while improved:
            improved = False
            for d in range(first, len(self.sizes)):
                trials = np.repeat(current[None], self.sizes[d], axis=0)
                trials[:, d] = np.arange(self.sizes[d])
                costs = self.cost.costs(trials)
                if costs.min() < value:
                    current, value, improved = trials[int(costs.argmin())], float(costs.min()), True
        return current


def _spread(term: Term, scope: tuple[int, ...]) -> Costs:
    """The term's table with an axis of length one for every decision of `scope` that it does not have."""
    table = term.table
    assert table is not None  # checked by the caller
    size = dict(zip(term.scope, table.shape, strict=True))
    return table.reshape([size.get(s, 1) for s in scope])
