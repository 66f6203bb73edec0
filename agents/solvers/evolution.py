"""Regularised evolution (Real, Aggarwal, Huang, Le, AAAI 2019): the usual baseline of automated search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from autoprune.agents.base import Agent, EpisodeRecord, PlannedEpisode
from autoprune.agents.solvers.neighbours import Neighbours
from autoprune.errors import InputError

__all__ = ["EvolutionAgent", "EvolutionSettings"]

_TRIES = 20  # draws of a child that was not played yet


@dataclass(frozen=True)
class EvolutionSettings:
    """What can be chosen of the evolution.

    Attributes:
        population: How many of the newest policies may have children.
        sample: How many of them are drawn, of which the best is the parent.
        slack: Share of the budget that a child may leave unspent; 1 leaves it to the action mask alone.
    """

    population: int = 50
    sample: int = 12
    slack: float = 0.05

    def __post_init__(self) -> None:
        if self.population < 1 or self.sample < 1 or not 0 <= self.slack <= 1:
            raise InputError(
                "population and sample must be at least 1 and slack in [0, 1], not"
                f" {self.population}, {self.sample}, {self.slack}"
            )


class EvolutionAgent(Agent):
    """Ageing evolution: the newest policies are the population, the best of a few of them has a child, the oldest dies.

    The warm-up is the first population: random policies on the budget. A child takes every decision of its parent, or
    one in three times of one of two parents at random, then about one decision is drawn anew. What it asks for is
    played behind the action mask, so every child is within the budget.
    """

    name: ClassVar[str] = "evolution"
    settings_class: ClassVar[type[Any] | None] = EvolutionSettings
    settings: EvolutionSettings

    def _prepare(self) -> None:
        self._neighbours = Neighbours(self.env)

    def _plan(self, k: int) -> PlannedEpisode:
        return self._episode(k, self._prescribed(k) or self._bred(k))

    def _bred(self, k: int) -> dict[str, int]:
        """A child; a random policy where there is no parent yet."""
        return self._new(self._generator(k)) if self.history else self._explore(k)

    def _new(self, rng: np.random.Generator) -> dict[str, int]:
        """A child within the budget; a neighbour of the best policies where it was played before."""
        asked = self.env.space.choices(self._child(rng))
        child = self._spending(asked, self.env.limit, self.settings.slack)
        return self._neighbours.instead_of(child, self.history, self.env.limit, rng, self.pending) or child

    def _child(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Option numbers of a child that asks for something new, where a few draws find one."""
        known = [*(record.choices for record in self.history), *self.pending]
        played = {tuple(self.env.space.indices(choices).tolist()) for choices in known}
        child = self._drawn(rng)
        for _ in range(_TRIES):
            if tuple(child.tolist()) not in played:
                break
            child = self._drawn(rng)
        return child

    def _drawn(self, rng: np.random.Generator) -> NDArray[np.int64]:
        space = self.env.space
        child = space.indices(self._parent(rng).choices)
        if rng.random() < 1 / 3:
            other = space.indices(self._parent(rng).choices)
            child = np.where(rng.random(len(space)) < 0.5, child, other)
        sizes = np.array([len(decision.options) for decision in space.decisions])
        mutated = rng.random(len(space)) < 1 / len(space)
        mutated[int(rng.integers(len(space)))] = True
        return np.where(mutated, rng.integers(sizes), child)

    def _parent(self, rng: np.random.Generator) -> EpisodeRecord:
        """The best of a few of the population; of equals the newest."""
        alive = self.history[-self.settings.population :]
        drawn = rng.choice(len(alive), size=min(self.settings.sample, len(alive)), replace=False)
        return max((alive[int(i)] for i in drawn), key=lambda record: (record.reward, record.episode))
