"""Random policies on the budget's surface: within 0.3 points of DDPG in the one published comparison."""

from __future__ import annotations

from typing import ClassVar

from autoprune.agents.base import Agent, PlannedEpisode

__all__ = ["RandomAgent"]


class RandomAgent(Agent):
    """Plays random policies that spend the budget (`autoprune.envs.spend_budget`), each from its own generator."""

    name: ClassVar[str] = "random"

    def _plan(self, k: int) -> PlannedEpisode:
        return self._episode(k, self._prescribed(k) or self._explore(k))
