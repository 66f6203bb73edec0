"""Random tables of chips, small enough to try every policy."""

from __future__ import annotations

import itertools

import numpy as np

from autoprune.cost.chips import ChipTables
from autoprune.space import Decision, SearchSpace

OPTIONS = (2, 3, 4)


def random_tables(seed: int, chips: int = 5, memories: int = 2, *, roomy: bool = False) -> ChipTables:
    rng = np.random.default_rng(seed)
    space = SearchSpace(tuple(Decision(f"d{n}", 9, (*range(1, count), 9)) for n, count in enumerate(OPTIONS)))

    def per_option(*more: int) -> tuple[np.ndarray, ...]:
        return tuple(rng.uniform(0.1, 1, (count, chips, *more)) for count in OPTIONS)

    return ChipTables(
        space,
        per_option(),
        per_option(),
        per_option(memories),
        rng.uniform(0, 1, chips),
        rng.uniform(0, 1, chips),
        rng.uniform(0, 0.2, (chips, memories)),
        np.full((chips, memories), np.inf) if roomy else rng.uniform(1.0, 2.5, (chips, memories)),
        rng.random(chips) < 0.3,
        rng.uniform(1, 3, chips),
    )


def every_policy() -> np.ndarray:
    return np.array(list(itertools.product(*map(range, OPTIONS))))
