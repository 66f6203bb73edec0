"""From a task and an experiment to a search problem that is priced, or refused with the least that can be reached."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from autoprune.cost.budget import Budget, parsed_budgets
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
from autoprune.pipeline.problem import Elsewhere, Problem, figure
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.state import Margins, SearchState
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import SearchSpace
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.stack import Stack

__all__ = ["build_problem", "space_for", "unpriced_problem"]

_HOPELESS = 4.0  # a finer grid of widths is not worth another profile if the least reachable is so far above the limit


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
