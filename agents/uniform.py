"""One ratio for all decisions: the baseline that everything must beat."""

from __future__ import annotations

from typing import ClassVar

from autoprune.agents.base import Agent, PlannedEpisode
from autoprune.envs import largest_uniform

__all__ = ["UniformAgent"]


class UniformAgent(Agent):
    """Plays the uniform policy with the largest ratio that meets the budget, once.

    Where no uniform policy meets it (some layers cannot shrink as far as others), the least one is asked for, and
    the nearest feasible policy is played. A second episode would be the same, so the agent is finished after one.
    """

    name: ClassVar[str] = "uniform"
    is_baseline: ClassVar[bool] = True

    @property
    def left(self) -> int:
        """One, until it has been played."""
        return 1 - self.played

    def _plan(self, k: int) -> PlannedEpisode:
        least = {decision.name: decision.options[0] for decision in self.env.space.decisions}
        return self._episode(k, largest_uniform(self.env.cost, self.env.limit) or least)
