"""From a task and an experiment to a search problem: what may change, what it costs, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from autoprune.cost import AdditiveCost, FeasibleActions
from autoprune.cost.energy import EnergyCost
from autoprune.cost.macs import macs_cost
from autoprune.cost.params import params_cost
from autoprune.criteria.norm import kept_units, ranking
from autoprune.errors import BudgetError, InputError, UnsupportedModelError
from autoprune.foundations.seeding import seeded
from autoprune.graph import Analysis, analyse, cut
from autoprune.graph.trace.copying import duplicate
from autoprune.hardware import Target
from autoprune.hardware.grid.widths import Grid, grid_of
from autoprune.models import device_of, in_mode
from autoprune.pipeline.device import target_of
from autoprune.pipeline.pricing import energy_model, search_limit
from autoprune.pipeline.reporter import Talk
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import Policy, SearchSpace
from autoprune.space.budget import Budget
from autoprune.techniques.structured.space import space_of

if TYPE_CHECKING:
    from autoprune.hardware import LatencyTable
    from autoprune.hardware.tables.latency_table import Progress

__all__ = ["MARGIN", "Problem", "build_problem", "figure", "profile_path", "profiled", "space_for"]

MARGIN = 0.99
"""Share of a budget that may be taken as measured, at first: a later session may take half a percent longer."""

_HOPELESS = 4.0  # a finer grid of widths is not worth another profile if the least reachable is so far above the limit


@dataclass
class Problem:
    """Everything that a search works on.

    Attributes:
        limit: What a policy may be predicted to cost, in the budget's unit; tightened when measurements exceed it.
        margin: Share of the budget that a finalist may take as measured; less where a later session took longer.
        costs: Cost models by kind; latency only where a table was made.
        order: Units of every group, most important first; set once the dense network is trained.
        timed: What every policy took that was timed on the way, by key; filled by `autoprune.pipeline.search.sessions`.
        sessions: Timing sessions so far, those read back from the run included.
    """

    task: Task
    experiment: Experiment
    run: RunDir
    target: Target
    analysis: Analysis
    space: SearchSpace
    budget: Budget
    costs: dict[str, AdditiveCost]
    table: LatencyTable | None
    limit: float
    margin: float = MARGIN
    order: dict[str, list[int]] = field(default_factory=dict)
    timed: dict[str, dict[str, Any]] = field(default_factory=dict)
    sessions: int = 0

    @property
    def cost(self) -> AdditiveCost:
        """The cost model of the budget."""
        return self.costs[self.budget.kind]

    @property
    def energy(self) -> EnergyCost:
        """The cost model of energy, which every problem has: modelled, or fitted on what a sensor measured."""
        cost = self.costs["energy"]
        assert isinstance(cost, EnergyCost)  # `build_problem` made it
        return cost

    def rank_units(self) -> None:
        """Rank units by the trained dense weights."""
        self.order = ranking(self.task.model, self.analysis, self.experiment.criterion)

    def policy(self, choices: Mapping[str, int], agent: str) -> Policy:
        """A policy that names its kept units and what it is predicted to do."""
        full = self.space.complete(choices)
        return self.space.policy(
            full,
            kept=kept_units(self.order, self.space.units(full)),
            criterion=self.experiment.criterion,
            budget={"kind": self.budget.kind, "requested": self.budget.requested},
            predicted=self.predict(full),
            agent=agent,
            seed=self.experiment.seed,
        )

    def predict(self, choices: Mapping[str, int]) -> dict[str, float]:
        """What a policy is predicted to cost, by kind; `latency_ms` in ms, `energy_mj` in mJ."""
        names = {"latency": "latency_ms", "energy": "energy_mj"}
        return {names.get(kind, kind): cost.cost(choices) for kind, cost in self.costs.items()}

    def small(self, choices: Mapping[str, int]) -> nn.Module:
        """The raw cut of the dense network."""
        return cut(self.task.model, self.analysis, kept_units(self.order, self.space.units(choices)))

    def reprice(self, latency: AdditiveCost) -> None:
        """Take a latency model with a better correction; a share of the dense latency moves with it."""
        before = self.cost.dense
        self.costs["latency"] = latency
        if self.budget.kind == "latency" and self.budget.relative:
            self.limit *= latency.dense / before

    def tighten(self, limit: float) -> None:
        """Lower the search limit.

        Raises:
            BudgetError: If nothing in the space is predicted to meet it.
        """
        FeasibleActions(self.cost, limit)  # refuses an impossible one
        self.limit = limit


def build_problem(task: Task, experiment: Experiment, run: RunDir, talk: Talk) -> Problem:
    """Analyse the model, price it on the target, and refuse a budget that cannot be met.

    Raises:
        UnsupportedModelError: If the model cannot be analysed.
        BudgetError: If nothing in the space meets the budget; the least reachable cost is named.
        TargetError: If the target is not available.
    """
    budget = Budget.parse(*experiment.budget)
    target = target_of(experiment)
    target.require()
    with talk.stage("analyse", f"analysing {task.name}"):
        analysis = analyse(task.model, task.example)
    with talk.stage("profile", f"probing widths on {target.name}"):
        grids = _grids(experiment, target, run)
    problem = None
    for granularity in grids:
        coarser = None if problem is None else problem.table
        problem = _priced(task, experiment, run, target, analysis, budget, granularity, coarser, talk)
        least = problem.cost.least()[0]
        if least <= problem.limit or least > _HOPELESS * problem.limit:
            break
    assert problem is not None  # there is always a grid
    with talk.stage("analyse", "finding the least that can be reached"):
        ladder = _ladder(problem)
    talk.say(ladder)
    _refuse_out_of_reach(problem)
    run.note("granularity", list(granularity))
    public = run.file("latency_table.json")
    if problem.table is not None and not public.exists():
        problem.table.save(public)
    return problem


def _grids(experiment: Experiment, target: Target, run: RunDir) -> list[Grid]:
    """Grids to try: the user's, else the probed one; finer ones if the budget is out of reach on that."""
    if experiment.granule is not None:
        return [grid_of(target, experiment.granule)]
    noted = run.noted("granularity")
    if noted is not None:
        return [Grid.from_json(noted)]
    probed = grid_of(target)
    finer = {probed.least, 1}
    return list(dict.fromkeys([probed, *(Grid(each, each) for each in sorted(finer, reverse=True))]))


def _priced(
    task: Task,
    experiment: Experiment,
    run: RunDir,
    target: Target,
    analysis: Analysis,
    budget: Budget,
    granularity: Grid,
    coarser: LatencyTable | None,
    talk: Talk,
) -> Problem:
    """The problem on one grid of widths."""
    with talk.stage("analyse", f"laying out what may go in {task.name}"):
        space = _space(analysis, task, experiment, target, granularity)
        _require_training_forward(task, analysis, space)
    table = None
    if budget.kind == "latency":
        table = _table(task, run, target, analysis, space, granularity, coarser, talk)
    costs = {"flops": macs_cost(analysis, space), "params": params_cost(analysis, space)}
    costs["energy"] = energy_model(task, run, target, analysis, space, talk, measured=budget.kind == "energy")
    if table is not None:
        costs["latency"] = table.cost()
    limit = search_limit(budget, costs[budget.kind])
    return Problem(task, experiment, run, target, analysis, space, budget, costs, table, limit)


def _require_training_forward(task: Task, analysis: Analysis, space: SearchSpace) -> None:
    """Cut networks are trained, and what runs in training only was never traced: better told now than after the search.

    Raises:
        UnsupportedModelError: If the network runs in training mode, but not once it is cut.
    """
    narrow = space.units({d.name: d.options[0] for d in space.decisions})
    small = cut(task.model, analysis, {name: range(units) for name, units in narrow.items()})
    images = torch.cat([task.example] * 2).to(device_of(task.model))

    def fault(model: nn.Module) -> Exception | None:
        with in_mode(model, train=True), torch.no_grad(), seeded(0):
            try:
                model(images)
            except Exception as error:  # noqa: BLE001 - a user's forward may raise anything
                return error
        return None

    if fault(duplicate(task.model)) is None and (error := fault(small)) is not None:
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
        target=target,
        granularity=granularity,
        granules=experiment.granules,
        skip=experiment.skip,
        kinds=experiment.kinds or None,
        cap=experiment.cap,
        tie=experiment.tie,
        name=name,
    )


def _space(analysis: Analysis, task: Task, experiment: Experiment, target: Target, granularity: Grid) -> SearchSpace:
    space = space_for(experiment, analysis, target, granularity, task.name)
    if not len(space):
        reasons = "; ".join(f"{name}: {why}" for name, why in list(space.frozen.items())[:3])
        raise InputError(f"nothing in {task.name} can be pruned ({reasons}); see autoprune inspect")
    return replace(space, model={**space.model, "arguments": task.arguments, "example": list(task.example.shape)})


def _table(
    task: Task,
    run: RunDir,
    target: Target,
    analysis: Analysis,
    space: SearchSpace,
    granularity: Grid,
    coarser: LatencyTable | None,
    talk: Talk,
) -> LatencyTable:
    """The latency table as it was profiled: read back if it is there, else measured, going on where a profile stopped.

    The search's costs are this table's for ever. What is timed after the search refines `latency_table.json`, and a
    resumed run takes those timings up one after the other, as the whole run did.
    """
    from autoprune.hardware import LatencyTable
    from autoprune.hardware.tables.device_table import check_fingerprint

    path = profile_path(run, granularity)
    known = LatencyTable.load(path) if path.exists() else coarser
    if known is not None:
        try:
            check_fingerprint(known.fingerprint, target.fingerprint())
        except InputError as error:  # prices of one device, measurements of another: neither would mean anything
            raise InputError(f"{run.path} cannot go on here: {error}, in a run of its own") from error
    same = known is not None and (known.space.decisions, known.space.ties) == (space.decisions, space.ties)
    if path.exists() and known is not None and same and known.complete:
        return known
    with talk.stage("profile", f"measuring layers on {target.name}") as progress:
        table = profiled(task, run.experiment, target, analysis, space, path, known, progress)
        table.save(path)
    talk.say(f"latency table: {table.summary()}")
    return LatencyTable.load(path)  # as a resumed run reads it


def profiled(
    task: Task,
    experiment: Experiment,
    target: Target,
    analysis: Analysis,
    space: SearchSpace,
    unfinished: Path,
    known: LatencyTable | None,
    progress: Progress,
) -> LatencyTable:
    """The model's latency table, measured as the settings want it; what is measured stands in a file at once.

    Args:
        task: The network and the batch that is timed.
        experiment: Seed and device table.
        target: Where.
        analysis: The model's operators.
        space: The decisions.
        unfinished: The file.
        known: A table whose measurements need not be taken again.
        progress: Called with (done, all, what).
    """
    from autoprune.hardware import profile

    return profile(
        task.model,
        analysis,
        space,
        task.timed_example,
        target,
        progress=progress,
        seed=experiment.seed,
        known=known,
        device_table=experiment.table,
        checkpoint=lambda table: table.save(unfinished),
    )


def profile_path(run: RunDir, granularity: Grid) -> Path:
    """Where the table of a grid of widths lies, finished or not."""
    return run.file(f"checkpoint/profile-{granularity}.json")


def _ladder(problem: Problem) -> str:
    """What is reachable, told before any search."""
    cost, limit = problem.cost, problem.limit
    least, _ = cost.least()
    half = cost.cost({d.name: d.nearest(d.width / 2) for d in problem.space.decisions})
    return (
        f"{problem.budget.kind} in {cost.unit}: dense {figure(cost.dense)}, half of every width {figure(half)}"
        f" ({half / cost.dense:.0%}), least reachable {figure(least)} ({least / cost.dense:.0%}); limit {figure(limit)}"
    )


def _refuse_out_of_reach(problem: Problem) -> None:
    cost, limit = problem.cost, problem.limit
    least, _ = cost.least()
    if least > limit:
        raise BudgetError(
            f"the budget {problem.budget} ({figure(limit)} {cost.unit}) cannot be met: the least reachable is"
            f" {figure(least)} {cost.unit}, {least / cost.dense:.1%} of the dense network; raise the budget,"
            " or skip fewer layers",
            least,
        )


def figure(value: float) -> str:
    """A cost for people: four digits, or thousands separated.

    >>> figure(0.71532), figure(31021056.0)
    ('0.7153', '31,021,056')
    """
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
