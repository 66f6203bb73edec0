"""A finished network held against every budget of its run."""

from __future__ import annotations

from dataclasses import dataclass

from autoprune.cost.budget import Budget
from autoprune.cost.metrics import Verdict

__all__ = ["Verdicts"]


@dataclass(frozen=True)
class Verdicts:
    """What a network costs by each budget, and whether it meets all of them.

    Attributes:
        of: Every budget with its verdict, in the order in which they were asked for; at least one.
    """

    of: tuple[tuple[Budget, Verdict], ...]

    @property
    def met(self) -> bool:
        """Whether every budget is met."""
        return all(verdict.met for _, verdict in self.of)

    @property
    def worst(self) -> tuple[Budget, Verdict]:
        """The budget that the network takes most of."""
        return max(self.of, key=lambda pair: pair[1].over)

    @property
    def over(self) -> float:
        """What the network takes of that budget, as a share of what is allowed."""
        return self.worst[1].over

    @property
    def missed(self) -> dict[str, float]:
        """Budgets that are not met: name -> what is taken, as a share of what is allowed."""
        return {budget.name: verdict.over for budget, verdict in self.of if not verdict.met}
