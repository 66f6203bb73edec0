"""A cost model of random tables."""

from dataclasses import dataclass

import numpy as np

from autoprune.cost import AdditiveCost, CostEntry
from autoprune.space import Decision, SearchSpace


@dataclass(frozen=True)
class Lookup:
    """Prices from a random table: neither monotone nor separable."""

    table: np.ndarray

    def __call__(self, widths):
        return self.table[tuple((widths - 1).T)] if widths.shape[1] else self.table.reshape(-1)[:1]


def random_cost(seed: int, count: int = 5, options: int = 3) -> AdditiveCost:
    rng = np.random.default_rng(seed)
    space = SearchSpace(tuple(Decision(f"d{i}", options, tuple(range(1, options + 1))) for i in range(count)))
    scopes = [(), *[(i,) for i in range(count)], *[(i, i + 1) for i in range(count - 1)], (0, 2, count - 1)]
    entries = [
        CostEntry(f"e{s}", tuple(f"d{i}" for i in s), Lookup(rng.uniform(0, 1, (options,) * len(s)))) for s in scopes
    ]
    return AdditiveCost("latency", "ms", space, entries)
