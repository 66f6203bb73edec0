"""What a job learns of its problem on the way: timings, a better latency model, a tighter limit."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoprune.cost import AdditiveCost, FeasibleActions
from autoprune.cost.budget import Budget
from autoprune.cost.metrics import Timing

__all__ = ["Margins", "SearchState"]


@dataclass(frozen=True)
class Margins:
    """How far a job stays below its limits, each a share in (0, 1].

    Attributes:
        finalist: Of a budget, that a finalist may take as measured, at first: a later session may take half a percent
            longer.
        least: Of a budget, below which no finalist is asked to stay: a machine whose sessions differ by more cannot
            tell a tenth.
        retry: Of the limit that would just have been met, that the next try is planned with.
        uniform: Of a uniform policy's cost, that the next uniform policy may cost at most.
        room: Of a limit; what a candidate leaves unspent below this is not worth another timing.
    """

    finalist: float = 0.99
    least: float = 0.9
    retry: float = 0.995
    uniform: float = 0.999
    room: float = 0.05


@dataclass
class SearchState:
    """The part of a problem that changes while it is worked on.

    Attributes:
        costs: Cost models by kind.
        limit: What a policy may be predicted to cost, in the budget's unit; tightened when measurements exceed it.
        margin: Share of the budget that a finalist may take as measured; less where a later session took longer.
        timed: Every policy that was timed on the way, by key.
        sessions: Timing sessions so far, those read back from the run included.
        seconds: That these took, each when it was first run.
    """

    costs: dict[str, AdditiveCost]
    limit: float
    margin: float
    timed: dict[str, Timing] = field(default_factory=dict)
    sessions: int = 0
    seconds: float = 0.0

    def tighten(self, kind: str, limit: float) -> None:
        """Lower the search limit of a kind of cost.

        Raises:
            BudgetError: If nothing in the space is predicted to meet it.
        """
        FeasibleActions(self.costs[kind], limit)  # refuses an impossible one
        self.limit = limit

    def reprice(self, cost: AdditiveCost, budget: Budget) -> None:
        """Take a cost model with a better correction; a budget that is a share of the dense cost moves with it."""
        if cost.kind == budget.kind and budget.relative:
            self.limit *= cost.dense / self.costs[cost.kind].dense
        self.costs[cost.kind] = cost

    def add_session(self, timings: dict[str, Timing], seconds: float) -> None:
        """Take in what a timing session measured, by policy key, and how long it took."""
        self.sessions += 1
        self.seconds += seconds
        self.timed.update(timings)
