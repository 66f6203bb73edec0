"""From a task and an experiment to a search problem: what may change, what it costs, what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from autoprune.cost import AdditiveCost, CostModel
from autoprune.cost.budget import Budget, parsed_budgets
from autoprune.cost.energy import EnergyCost, require_energy
from autoprune.cost.metrics import Metric, metric_of
from autoprune.criteria.ranking import Ranking
from autoprune.criteria.registry import criterion_of
from autoprune.errors import BudgetError, InputError, UnsupportedModelError
from autoprune.foundations.seeding import seeded
from autoprune.graph import Analysis, analyse
from autoprune.hardware import Target
from autoprune.hardware.grid.widths import Grid
from autoprune.models import device_of, in_mode
from autoprune.models.copying import isolated
from autoprune.models.inputs.example import as_example, described
from autoprune.pipeline.device import further_target, target_of
from autoprune.pipeline.pricing import Pricing, prices
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.state import Margins, SearchState
from autoprune.pipeline.task import Task
from autoprune.reconstruction.candidate_weights import CandidateWeights, Fitting
from autoprune.reconstruction.registry import CANDIDATE_WEIGHTS
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import STRUCTURED, Policy, SearchSpace
from autoprune.techniques.base import Calibration
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.stack import Stack
from autoprune.training.recipe import Recipe

if TYPE_CHECKING:
    from autoprune.hardware import LatencyTable

__all__ = [
    "CAME_TRAINED",
    "PERMUTATION",
    "Elsewhere",
    "Problem",
    "build_problem",
    "figure",
    "name_in_files",
    "space_for",
    "unpriced_problem",
]

_HOPELESS = 4.0  # a finer grid of widths is not worth another profile if the least reachable is so far above the limit


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


def build_problem(task: Task, run: RunDir, reporter: Reporter) -> Problem:
    """Analyse the model, price it on the target, and refuse a budget that cannot be met.

    Raises:
        UnsupportedModelError: If the model cannot be analysed.
        BudgetError: If nothing in the space meets the budget; the least reachable cost is named.
        TargetError: If the target is not available.
    """
    target = target_of(run.experiment)
    target.require()
    target.calibrate(task.calibration_call)
    if target.note:
        reporter.say(target.note)
    with reporter.stage("analyse", f"analysing {task.name}") as bar:
        analysis = analyse(task.model, task.example, blocks=run.experiment.constraints.gates, progress=bar)
    with reporter.stage("profile", f"probing widths on {target.name}"):
        grids = _grids(run, target)
    problem = None
    for granularity in grids:
        with reporter.stage("analyse", f"laying out what may go in {task.name}"):
            space = _space(analysis, task, run.experiment, target, granularity)
            _require_training_forward(task, Stack(techniques_of(run.experiment.technique_names), analysis, space))
        coarser = None if problem is None else problem.table
        problem = _priced(Pricing(task, run, target, analysis, space, granularity, coarser, reporter))
        least = problem.cost.least()[0]
        if least <= problem.limit or least > _HOPELESS * problem.limit:
            break
    assert problem is not None  # there is always a grid
    with reporter.stage("analyse", "finding the least that can be reached"):
        ladders = [_ladder(problem, budget) for budget in problem.budgets]
    for ladder in ladders:
        reporter.say(ladder)
    _refuse_out_of_reach(problem)
    run.remember("granularity", list(granularity))
    public = run.file("latency_table.json")
    if problem.table is not None and not public.exists():
        problem.table.save(public)
    return problem


def unpriced_problem(task: Task, run: RunDir, granularity: Grid, reporter: Reporter) -> Problem:
    """The problem of a process that scores candidates and prices none: it has no budget, and nothing is timed.

    Args:
        task: The network and its data.
        run: Of its own.
        granularity: The grid of widths that was settled on.
        reporter: Shows progress.

    Raises:
        UnsupportedModelError: If the model cannot be analysed.
    """
    with reporter.stage("analyse", f"analysing {task.name}") as bar:
        analysis = analyse(task.model, task.example, blocks=run.experiment.constraints.gates, progress=bar)
    target = target_of(run.experiment)
    space = _space(analysis, task, run.experiment, target, granularity)
    stack = Stack(techniques_of(run.experiment.technique_names), analysis, space)
    return Problem(task, run, target, analysis, space, stack, (), None, SearchState({}, {}, Margins().finalist))


def _grids(run: RunDir, target: Target) -> list[Grid]:
    """Grids to try: the user's, else the probed one; finer ones if the budget is out of reach on that."""
    multiple = run.experiment.constraints.granularity
    if multiple is not None:
        return [Grid.of(target, multiple)]
    stored = run.recall("granularity")
    if stored is not None:
        return [Grid.from_json(stored)]
    probed = Grid.of(target)
    finer = {probed.least, 1}
    return list(dict.fromkeys([probed, *(Grid(each, each) for each in sorted(finer, reverse=True))]))


def _priced(context: Pricing) -> Problem:
    """The problem on one grid of widths."""
    experiment, margins = context.run.experiment, Margins()
    budgets = parsed_budgets(experiment.requested_budgets)
    costs = prices(context, [each.kind for each in budgets if not each.target])
    elsewhere = []
    for each in budgets:
        if each.target:
            device = context.on(further_target(experiment, each.target), each.name)
            costs[each.name] = device.latency()
            elsewhere.append(Elsewhere(each, device.target, device.table))
    limits = {each.name: each.metric.planned(each.limit(costs[each.name].dense), costs[each.name]) for each in budgets}
    state = SearchState(costs, limits, margins.finalist)
    pieces = (context.task, context.run, context.target, context.analysis, context.space, context.stack)
    return Problem(*pieces, budgets, context.table, state, margins, elsewhere=tuple(elsewhere))


def _require_training_forward(task: Task, stack: Stack) -> None:
    """Cut networks are trained, and what runs in training only was never traced: it is refused before the search.

    Raises:
        UnsupportedModelError: If the network runs in training mode, but not once it is cut.
    """
    small = stack.apply(task.model, {d.name: d.options[0] for d in stack.space.decisions})
    home = device_of(task.model)
    images = as_example(task.example).with_batch(2).map(lambda tensor: tensor.to(home))

    def fault(model: nn.Module) -> Exception | None:
        with in_mode(model, train=True), torch.no_grad(), seeded(0):
            try:
                images.run(model)
            except Exception as error:  # noqa: BLE001 - a user's forward may raise anything
                return error
        return None

    if fault(isolated(task.model)) is None and (error := fault(small)) is not None:
        reason = " ".join(str(error).split())[:200]
        raise UnsupportedModelError(
            f"{task.name} runs in training what it does not in evaluation, and that fails once the network is cut"
            f" ({reason}); leave it out of the network, or --skip the layers that feed it"
        )


def space_for(
    experiment: Experiment, analysis: Analysis, target: Target, granularity: Grid | int | None, name: str
) -> SearchSpace:
    """The search space as the settings want it."""
    return space_of(
        analysis,
        experiment.constraints,
        target=target,
        grid=granularity,
        name=name,
        techniques=techniques_of(experiment.technique_names),
    )


def _space(analysis: Analysis, task: Task, experiment: Experiment, target: Target, granularity: Grid) -> SearchSpace:
    space = space_for(experiment, analysis, target, granularity, task.name)
    if not len(space):
        reasons = "; ".join(f"{name}: {why}" for name, why in list(space.frozen.items())[:3])
        raise InputError(f"nothing in {task.name} can be pruned ({reasons}); see autoprune inspect")
    return replace(space, model={**space.model, "arguments": task.arguments, "example": described(task.example)})


def _ladder(problem: Problem, budget: Budget) -> str:
    """What is reachable of one budget, said before any search."""
    cost, limit = problem.price_of(budget), problem.state.limits[budget.name]
    least, _ = cost.least()
    half = cost.cost({d.name: d.nearest(d.width / 2) for d in problem.space.decisions})
    return (
        f"{budget.name} in {cost.unit}: dense {figure(cost.dense)}, half of every width {figure(half)}"
        f" ({half / cost.dense:.0%}), least reachable {figure(least)} ({least / cost.dense:.0%}); limit {figure(limit)}"
    )


def _refuse_out_of_reach(problem: Problem) -> None:
    for budget in problem.budgets:
        _refuse_alone(problem, budget)
    least, _ = problem.cost.least()
    if least > problem.limit:
        raise BudgetError(
            f"{problem.cost.refusal(problem.limit)}; raise one of the budgets, or skip fewer layers", least
        )


def _refuse_alone(problem: Problem, budget: Budget) -> None:
    cost, limit = problem.price_of(budget), problem.state.limits[budget.name]
    least, _ = cost.least()
    if least > limit:
        raise BudgetError(
            f"the budget {budget} ({figure(limit)} {cost.unit}) cannot be met: the least reachable is"
            f" {figure(least)} {cost.unit}, {least / cost.dense:.1%} of the dense network; raise the budget,"
            " or skip fewer layers",
            least,
        )


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
