"""Exact: the policy within the budget that is predicted to lose least, by mixed-integer programming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from autoprune.agents.solvers.base import SolverAgent
from autoprune.agents.solvers.milp import Solution, solve
from autoprune.errors import InputError

__all__ = ["ExactAgent", "ExactSettings"]


@dataclass(frozen=True)
class ExactSettings:
    """What can be chosen of the exact solver.

    Attributes:
        time_limit: Seconds that it may take; then its best policy so far is played, and `ExactAgent.solution` has its
            gap.
    """

    time_limit: float = 30.0

    def __post_init__(self) -> None:
        if not self.time_limit > 0:
            raise InputError(f"time_limit must be positive, not {self.time_limit}")


class ExactAgent(SolverAgent):
    """Plays the optimum of the curves' sum under the budget (`solve` in `milp.py`), then its neighbours.

    Attributes:
        solution: The last answer with its bound; None before the first.
    """

    name: ClassVar[str] = "exact"
    settings_class: ClassVar[type[Any] | None] = ExactSettings
    settings: ExactSettings
    solution: Solution | None = None

    def solve(self, limit: float) -> list[dict[str, int]]:
        """The optimum."""
        self.solution = solve(self.prices, limit, time_limit=self.settings.time_limit)
        return [self.solution.choices]

    def scalars(self) -> dict[str, float]:
        """The predicted loss of the solver's answer, and how far the bound lies below it."""
        if self.solution is None or self.solution.gap is None:
            return {}
        return {"predicted_loss": self.solution.loss, "optimality_gap": self.solution.gap}
