"""What a job learns of its problem on the way: timings, a better latency model, a tighter limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autoprune.cost import AdditiveCost, CostModel, FeasibleActions, JointCost, Limited
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
        costs: Cost models, by the names of budgets and the kinds that every run is priced by.
        limits: What a policy may be predicted to cost, by the names of the budgets, each in its unit; tightened when
            measurements exceed it.
        margin: Share of the budget that a finalist may take as measured; less where a later session took longer.
        timed: Every policy that was timed on the way, by key.
        elsewhere: The same on further targets, by budget and key.
        sessions: Timing sessions so far, those read back from the run included.
        seconds: That these took, each when it was first run.
    """

    costs: dict[str, AdditiveCost]
    limits: dict[str, float]
    margin: float
    timed: dict[str, Timing] = field(default_factory=dict)
    elsewhere: dict[tuple[str, str], Timing] = field(default_factory=dict)
    sessions: int = 0
    seconds: float = 0.0
    _joint: JointCost | None = None

    @property
    def cost(self) -> CostModel:
        """What policies are searched by: the budget's cost; of several budgets the share that the tightest takes."""
        if len(self.limits) == 1:
            return self.costs[next(iter(self.limits))]
        if self._joint is None:
            self._joint = self._joined(self.limits)
        return self._joint

    @property
    def limit(self) -> float:
        """What a policy may be predicted to cost, in the unit of `cost`; of several budgets, 1."""
        return next(iter(self.limits.values())) if len(self.limits) == 1 else 1.0

    def within(self, factors: Mapping[str, float]) -> tuple[CostModel, float]:
        """What policies are priced by, and their limit, if some budgets' limits are changed by factors."""
        limits = {name: limit * factors.get(name, 1.0) for name, limit in self.limits.items()}
        if len(limits) == 1:
            return self.cost, next(iter(limits.values()))
        return self._joined(limits), 1.0

    def tighten(self, factors: Mapping[str, float]) -> None:
        """Lower the search limits of some budgets, each to a share of what it was.

        Raises:
            BudgetError: If nothing in the space is predicted to meet them.
        """
        FeasibleActions(*self.within(factors))  # refuses an impossible one
        self.limits |= {name: self.limits[name] * factor for name, factor in factors.items()}
        self._joint = None

    def reprice(self, cost: AdditiveCost, budget: Budget | None, name: str) -> None:
        """Take a cost model with a better correction; a budget that is a share of the dense cost moves with it."""
        if budget is not None and budget.relative:
            self.limits[name] *= cost.dense / self.costs[name].dense
        self.costs[name] = cost
        self._joint = None

    def add_session(self, timings: dict[str, Timing], seconds: float) -> None:
        """Take in what a timing session measured, by policy key, and how long it took."""
        self.sessions += 1
        self.seconds += seconds
        self.timed.update(timings)

    def _joined(self, limits: Mapping[str, float]) -> JointCost:
        return JointCost([Limited(name, self.costs[name], limit) for name, limit in limits.items()])
