"""Exact: the policy within the budget that is predicted to lose least, by mixed-integer programming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium

from autoprune.agents.solvers.base import SolverAgent
from autoprune.agents.solvers.milp import Solution, solve

__all__ = ["ExactAgent"]


class ExactAgent(SolverAgent):
    """Plays the optimum of the curves' sum under the budget (`solve` in `milp.py`), then its neighbours.

    Args:
        env: The environment.
        episodes: How many rows it may log.
        warmup: How many of them count as warm-up.
        seed: Of the neighbours.
        seed_policies: What the first episodes play.
        time_limit: Seconds that the solver may take; then its best policy so far is played, and `solution` has its gap.

    Attributes:
        solution: The last answer with its bound; None before the first.
    """

    name: ClassVar[str] = "exact"

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        episodes: int,
        warmup: int | None = None,
        seed: int = 0,
        seed_policies: Sequence[Mapping[str, int]] = (),
        time_limit: float = 30.0,
    ) -> None:
        super().__init__(env, episodes=episodes, warmup=warmup, seed=seed, seed_policies=seed_policies)
        self.time_limit = time_limit
        self.solution: Solution | None = None

    def solve(self, limit: float) -> list[dict[str, int]]:
        """The optimum."""
        self.solution = solve(self.prices, limit, time_limit=self.time_limit)
        return [self.solution.choices]

    def scalars(self) -> dict[str, float]:
        """The predicted loss of the solver's answer, and how far the bound lies below it."""
        if self.solution is None or self.solution.gap is None:
            return {}
        return {"predicted_loss": self.solution.loss, "optimality_gap": self.solution.gap}
