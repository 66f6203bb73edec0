"""A search problem: what may change, what it costs, what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from autoprune.cost import AdditiveCost, CostModel
from autoprune.cost.budget import Budget
from autoprune.cost.energy import EnergyCost, require_energy
from autoprune.cost.metrics import Metric, metric_of
from autoprune.criteria.ranking import Ranking
from autoprune.criteria.registry import criterion_of
from autoprune.graph import Analysis
from autoprune.hardware import Target
from autoprune.pipeline.state import Margins, SearchState
from autoprune.pipeline.task import Task
from autoprune.reconstruction.candidate_weights import CandidateWeights, Fitting
from autoprune.reconstruction.registry import CANDIDATE_WEIGHTS
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import STRUCTURED, Policy, SearchSpace
from autoprune.techniques.base import Calibration
from autoprune.techniques.stack import Stack
from autoprune.training.recipe import Recipe

if TYPE_CHECKING:
    from autoprune.hardware import LatencyTable

__all__ = [
    "CAME_TRAINED",
    "PERMUTATION",
    "Elsewhere",
    "Problem",
    "figure",
    "name_in_files",
]

PERMUTATION = "permutation"
"""Where a run's journal has the order of units that was searched for some time: another search may end elsewhere."""

CAME_TRAINED = "came trained"
"""Where it has whether the network came with weights."""


@dataclass(frozen=True)
class Elsewhere:
    """A further target, on which a budget of its own has to be met.

    Attributes:
        budget: On what is timed there.
        target: Where.
        table: Its latency table.
    """

    budget: Budget
    target: Target
    table: LatencyTable | None


@dataclass(frozen=True)
class Problem:
    """Everything that a search works on: fixed but for its `state`.

    Attributes:
        run: Where everything that is decided is kept; it names the experiment's settings.
        budgets: What the network may cost; all of them have to be met.
        table: The latency table; None where no budget needs one.
        stack: The techniques that carry policies out; fitted once the dense network is trained.
        state: What is learned on the way; shared by all problems that `ranked_by` makes of this one.
        weights: What candidates and fine-tuned networks start from; fitted once the dense network is trained.
        metered: Whether the device's counter of energy is read in every session, whatever the budget is on.
        elsewhere: The further targets that budgets name.
        orders: Coupled group -> the order that its units were put into, once the dense network was trained: the task's
            network has them in these places, the network that came has not.
    """

    task: Task
    run: RunDir
    target: Target
    analysis: Analysis
    space: SearchSpace
    stack: Stack
    budgets: tuple[Budget, ...]
    table: LatencyTable | None
    state: SearchState
    margins: Margins = field(default_factory=Margins)
    weights: CandidateWeights | None = None
    metered: bool = False
    elsewhere: tuple[Elsewhere, ...] = ()
    orders: Mapping[str, list[int]] = field(default_factory=dict)

    @property
    def experiment(self) -> Experiment:
        """The settings."""
        return self.run.experiment

    @property
    def limit(self) -> float:
        """What a policy may be predicted to cost, in the unit of `cost`."""
        return self.state.limit

    @property
    def cost(self) -> CostModel:
        """What policies are searched by: the budget's cost; of several budgets, the share that the tightest takes."""
        return self.state.cost

    @property
    def budget(self) -> Budget:
        """The first budget."""
        return self.budgets[0]

    @property
    def metric(self) -> Metric:
        """Of the first budget's kind."""
        return self.budget.metric

    @property
    def wanted(self) -> str:
        """All budgets, for people."""
        return ", ".join(map(str, self.budgets))

    @property
    def timed(self) -> Budget | None:
        """The budget on what is timed on the run's own target; None if there is none."""
        return next((each for each in self.budgets if each.metric.timed and not each.target), None)

    @property
    def is_timed(self) -> bool:
        """Whether a budget is on what is timed, here or on a further target."""
        return any(each.metric.timed for each in self.budgets)

    def price_of(self, budget: Budget) -> AdditiveCost:
        """The cost model of one budget, in its own unit."""
        return self.state.costs[budget.name]

    @property
    def energy(self) -> EnergyCost:
        """The cost model of energy, which every problem has: modelled, or fitted on what a sensor measured."""
        return require_energy(self.state.costs["energy"])

    def ranked(self, all_widths: Callable[[Problem], Mapping[str, Tensor]], by: nn.Module | None = None) -> Problem:
        """The same problem, its techniques fitted to the trained dense network: units ranked, statistics gathered.

        Args:
            all_widths: Trains a copy of a ranked problem's dense network as a network of all widths, where the
                candidates' weights want one, and gives its tensors by name.
            by: The dense network under other weights, which rank its units in place of its own.
        """
        task = self.task
        fitted = replace(self, stack=self.stack.fit(task.model if by is None else by, self.calibration))
        given = Fitting(task.model, task.data.calibration, task.reader, lambda: all_widths(fitted))
        return replace(fitted, weights=CANDIDATE_WEIGHTS.get(self.experiment.candidate_weights)(given))

    def ranked_by(self, order: Mapping[str, list[int]]) -> Problem:
        """The same problem, whose policies and cuts keep the units that this order has foremost."""
        return replace(self, stack=self.stack.with_fitted(STRUCTURED, Ranking(order)))

    @property
    def recipe(self) -> Recipe:
        """How networks are trained in this run."""
        return Recipe.chosen(self.experiment, attention=self.analysis.has_attention)

    @property
    def ranking(self) -> Ranking:
        """Units of every group, most important first; empty until the techniques are fitted."""
        return self.stack.fitted.get(STRUCTURED) or Ranking()

    @property
    def calibration(self) -> Calibration:
        """What techniques learn from."""
        data = self.task.data.calibration
        return Calibration(criterion_of(self.experiment.criterion), data, self.task.loss, self.task.reader)

    @property
    def candidate_weights(self) -> CandidateWeights:
        """What candidates are given.

        Raises:
            ValueError: If the techniques are not fitted yet.
        """
        if self.weights is None:
            raise ValueError("candidates have weights once the problem is ranked")
        return self.weights

    def kept(self, choices: Mapping[str, int]) -> dict[str, list[int]]:
        """Indices of the units that a policy keeps, by coupled group and block."""
        return self.ranking.kept(self.space.units(choices))

    def policy(self, choices: Mapping[str, int], agent: str) -> Policy:
        """A policy that names its kept units and what it is predicted to do."""
        full = self.space.complete(choices)
        return self.stack.policy(
            full,
            criterion=self.experiment.criterion,
            budget=self._asked,
            predicted=self.predict(full),
            agent=agent,
            seed=self.experiment.seed,
            orders=dict(self.orders) or None,
        )

    def predict(self, choices: Mapping[str, int]) -> dict[str, float]:
        """What a policy is predicted to cost, by the names that policy files use; each in its metric's unit."""
        return {name_in_files(name): cost.cost(choices) for name, cost in self.state.costs.items()}

    @property
    def _asked(self) -> dict[str, Any]:
        """The budget as policy files name it."""
        first = {"kind": self.budget.name, "requested": self.budget.requested}
        further = [{"kind": each.name, "requested": each.requested} for each in self.budgets[1:]]
        return first | ({"further": further} if further else {})

    def small(self, choices: Mapping[str, int]) -> nn.Module:
        """What a policy makes of the dense network, not trained."""
        return self.stack.apply(self.task.model, choices)

    def prepared(self, choices: Mapping[str, int]) -> nn.Module:
        """The same network with the weights that candidates are given: what was scored, and is fine-tuned."""
        small = self.small(choices)
        self.candidate_weights.prepare(small, self.stack.slices(choices))
        return small

    def tighten(self, factors: Mapping[str, float]) -> None:
        """Lower the search limits of some budgets, each to a share of what it was.

        Raises:
            BudgetError: If nothing in the space is predicted to meet them.
        """
        self.state.tighten(factors)


def name_in_files(name: str) -> str:
    """What policy files call a cost: `latency_ms`, `latency_ms@openvino`."""
    kind, at, target = name.partition("@")
    return f"{metric_of(kind).name_in_files}{at}{target}"


def figure(value: float) -> str:
    """A cost for people: four digits, or thousands separated.

    >>> figure(0.71532), figure(31021056.0)
    ('0.7153', '31,021,056')
    """
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
