"""Greedy: from dense, always the step that is predicted to lose least per saved cost, until the budget is met."""

from __future__ import annotations

from typing import ClassVar

from autoprune.agents.solvers.base import SolverAgent
from autoprune.agents.solvers.greedy_steps import greedy

__all__ = ["GreedyAgent"]


class GreedyAgent(SolverAgent):
    """Plays the greedy policy (`autoprune.agents.solvers.greedy_steps.greedy`), then improves it locally."""

    name: ClassVar[str] = "greedy"

    def solve(self, limit: float) -> list[dict[str, int]]:
        """The greedy policy."""
        return [greedy(self.prices, limit)]
