"""Ways to finish a policy within several limits at once.

For one sum of terms the cheapest completion is found exactly (`autoprune.cost.completion`); for the largest of several
sums that is a knapsack of many dimensions. What is exact is any weighted mean of the sums: its cheapest completion is a
policy, which is priced in all of them, and its value a bound, since no mean is above the largest. So completions under
several weightings are tried. An option is refused if a bound proves that it is out of reach, or if none of the
completions, nor descent from the best of them, is within the limits: what is allowed is always within all of them,
while an option that only a policy nobody found would save is not offered.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.completion import Completions, descend
from autoprune.cost.terms import Costs, SumOfTerms, Term, Widths
from autoprune.space import SearchSpace

__all__ = ["JointCompletions"]

_DIVISIONS = {2: 6, 3: 4}  # weights are multiples of 1 over this; 2 for more sums than three


@dataclass(frozen=True, eq=False)
class _Mean:
    """A weighted mean of several sums, as a sum of terms of its own."""

    space: SearchSpace
    fixed: float
    terms: tuple[Term, ...]
    parts: tuple[SumOfTerms, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, parts: Sequence[SumOfTerms], weights: Sequence[float]) -> _Mean | None:
        """The mean; None where a term is too large for a table."""
        used = [(part, weight) for part, weight in zip(parts, weights, strict=True) if weight]
        tables: dict[tuple[int, ...], list[Costs]] = defaultdict(list)
        for part, weight in used:
            for term in part.terms:
                if term.table is None:
                    return None
                tables[term.scope].append(weight * term.table)
        terms = tuple(Term(scope, np.sum(each, axis=0)) for scope, each in sorted(tables.items()))
        fixed = sum(weight * part.fixed for part, weight in used)
        return cls(parts[0].space, fixed, terms, tuple(p for p, _ in used), tuple(w for _, w in used))

    def costs(self, indices: Widths) -> Costs:
        """Means of option numbers, shape (policies,)."""
        weighted: Costs = np.sum(
            [w * part.costs(indices) for part, w in zip(self.parts, self.weights, strict=True)], axis=0
        )
        return weighted


class JointCompletions:
    """Finds completions of which the largest of several sums is small.

    Args:
        parts: The sums, in one unit.
        price: The largest of them, of option numbers of shape (policies, decisions).

    Attributes:
        bound: No policy has a largest sum below this; minus infinity where nothing is known.
    """

    def __init__(self, parts: Sequence[SumOfTerms], price: Callable[[Widths], Costs]) -> None:
        self._price = price
        self.sizes = [len(decision.options) for decision in parts[0].space.decisions]
        means = (_Mean.of(parts, weights) for weights in _weightings(len(parts)))
        finders = (Completions(mean) for mean in means if mean is not None)
        self._finders = [finder for finder in finders if finder.exact]
        nothing = np.empty((1, 0), dtype=np.int64)
        starts = [finder.finished(nothing) for finder in self._finders]
        starts.append(parts[0].space.indices({})[None])
        policies, values = descend(price, self.sizes, np.concatenate(starts), 0, -np.inf)
        self._cheap: Widths = policies[values.argmin()]
        bounds = [float(finder.cost.costs(finder.finished(nothing))[0]) for finder in self._finders]
        self.bound = max(bounds, default=-np.inf) * (1 - 1e-12)  # sums in another order differ in the last digits

    def best(self, prefix: Widths, known: Widths | None = None) -> Widths:
        """The cheapest known full policy that starts with `prefix`, as option numbers of shape (decisions,)."""
        policies, _ = self._finish(prefix[None], known, np.zeros(1, dtype=np.bool_), -np.inf)
        return np.asarray(policies[0])

    def ahead(self, prefix: Widths, known: Widths, limit: float) -> tuple[Costs, Widths | None]:
        """What each option of the next decision can still come to.

        Args:
            prefix: Option numbers of the decisions taken so far, shape (t,) with t below the number of decisions.
            known: A full policy that starts with `prefix`, shape (decisions,); its tail is one completion.
            limit: No cheaper completion is looked for than one that costs this much.

        Returns:
            Cost of the cheapest known completion of each option, shape (options,), and those completions, shape
            (options, decisions).
        """
        t = len(prefix)
        options = np.arange(self.sizes[t])[:, None]
        bounds = [finder.ahead(prefix, known, limit)[0] for finder in self._finders]
        proven = np.max(bounds, axis=0) > limit * (1 + 1e-9) if bounds else np.zeros(len(options), dtype=np.bool_)
        rows = np.hstack([np.repeat(prefix[None], len(options), axis=0), options])
        policies, costs = self._finish(rows, known, proven, limit)
        return costs, policies

    def _finish(
        self, prefixes: Widths, known: Widths | None, hopeless: NDArray[np.bool_], limit: float
    ) -> tuple[Widths, Costs]:
        """The best completions of prefixes of one length: of every weighting, of policies known; by descent at last.

        Args:
            prefixes: Shape (n, t).
            known: Shape (decisions,), or None.
            hopeless: Those of which a bound proves that they exceed the limit, shape (n,), bool.
            limit: What costs no more is left as it is.
        """
        n, t = prefixes.shape
        tails = [tail[t:] for tail in (known, self._cheap) if tail is not None]
        starts = [np.hstack([prefixes, np.repeat(tail[None], n, axis=0)]) for tail in tails]
        trials = np.stack([*starts, *(finder.finished(prefixes) for finder in self._finders)])
        prices = self._price(trials.reshape(-1, trials.shape[2])).reshape(len(trials), n)
        chosen = prices.argmin(axis=0), np.arange(n)
        policies, costs = trials[chosen], prices[chosen]
        short = np.flatnonzero((costs > limit) & ~hopeless)
        if len(short):
            policies[short], costs[short] = descend(self._price, self.sizes, policies[short], t, limit)
        return policies, costs


def _weightings(parts: int) -> list[tuple[float, ...]]:
    """Weights that add up to 1, evenly spread, every part alone among them.

    >>> len(_weightings(2)), _weightings(2)[0]
    (7, (0.0, 1.0))
    """
    steps = _DIVISIONS.get(parts, 2)
    counts = itertools.product(range(steps + 1), repeat=parts - 1)
    return [(*(c / steps for c in each), (steps - sum(each)) / steps) for each in counts if sum(each) <= steps]
