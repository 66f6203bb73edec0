"""A small environment whose best policy is known by enumeration: for tests of agents, and for trying them out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.cost import AdditiveCost, CostEntry
from autoprune.envs.pruning_env import PruningEnv
from autoprune.errors import InputError
from autoprune.space import Decision, SearchSpace

__all__ = ["Toy", "toy"]


@dataclass(frozen=True)
class _Product:
    """A layer between two decisions costs `factor` times the product of their widths."""

    factor: float

    def __call__(self, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self.factor * np.prod(widths.astype(np.float64), axis=1))


@dataclass(frozen=True)
class _Score:
    """Accuracy falls with the square of the share removed, at another rate for every decision."""

    widths: tuple[tuple[str, int], ...]
    sensitivity: tuple[float, ...]

    def __call__(self, choices: Mapping[str, int]) -> float:
        removed = (1 - choices[name] / width for name, width in self.widths)
        return 1.0 - sum(s * r * r for s, r in zip(self.sensitivity, removed, strict=True))


@dataclass(frozen=True)
class Toy:
    """A search problem in closed form.

    Attributes:
        cost: Of a chain of layers; `coupled`: each priced by the product of two neighbours' widths, and one of
            three decisions far apart; else each priced by one decision.
        limit: The budget, in the cost's unit.
        score: Accuracy of a policy, in closed form; picklable.
    """

    cost: AdditiveCost
    limit: float
    score: _Score

    @property
    def space(self) -> SearchSpace:
        """The decisions."""
        return self.cost.space

    def env(self) -> PruningEnv:
        """A fresh environment."""
        return PruningEnv(self.space, self.cost, self.limit, self.score)

    def optimum(self) -> tuple[float, dict[str, int]]:
        """The best accuracy within the limit and its choices, by trying every policy.

        Raises:
            InputError: If there are more than a million policies.
        """
        sizes = [len(decision.options) for decision in self.space.decisions]
        if np.prod(sizes) > 1e6:
            raise InputError(f"{np.prod(sizes):.0f} policies are too many to try")
        grid = np.array(list(itertools.product(*map(range, sizes))))
        grid = grid[self.cost.costs(grid) <= self.limit]
        shares = np.stack([np.asarray(d.options)[grid[:, i]] / d.width for i, d in enumerate(self.space.decisions)])
        accuracy = 1.0 - np.asarray(self.score.sensitivity) @ (1 - shares) ** 2
        best = int(np.argmax(accuracy))
        return float(accuracy[best]), self.space.choices(grid[best])


def toy(decisions: int = 5, *, options: int = 8, keep: float = 0.5, coupled: bool = True, seed: int = 0) -> Toy:
    """A toy network: `decisions` layers of 16 to 64 units.

    Args:
        decisions: How many.
        options: Widths that each may have.
        keep: The limit, as a share of the dense cost.
        coupled: Whether a layer's price depends on its input's width too.
        seed: Draws the layers' prices and how sensitive accuracy is to them.
    """
    rng = np.random.default_rng(seed)
    widths = [options * int(2 ** rng.integers(1, 4)) for _ in range(decisions)]
    space = SearchSpace(
        tuple(
            Decision(f"layer{i}", w, tuple(w // options * k for k in range(1, options + 1)))
            for i, w in enumerate(widths)
        )
    )
    names = space.names
    scopes: list[tuple[str, ...]] = [(name,) for name in names]
    if coupled:
        scopes += list(itertools.pairwise(names))
        scopes += [(names[0], names[decisions // 2], names[-1])] if decisions > 2 else []
    entries = [CostEntry("fixed", (), _Product(1.0))]
    for scope in scopes:
        dense = np.prod([space[name].width for name in scope])
        entries.append(CostEntry("+".join(scope), scope, _Product(float(rng.uniform(5, 30) * len(scope) / dense))))
    cost = AdditiveCost("flops", "MACs", space, entries)
    rates = rng.exponential(size=decisions) + 0.02
    score = _Score(tuple((d.name, d.width) for d in space.decisions), tuple(0.6 * rates / rates.sum()))
    return Toy(cost, keep * cost.dense, score)
