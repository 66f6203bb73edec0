"""A job's plan, once its preflight has passed."""

from __future__ import annotations

import time
from collections import Counter

from autoprune.cost.budget import Budget, parsed_budgets
from autoprune.graph import analyse
from autoprune.hardware.grid.widths import Grid
from autoprune.pipeline.allowance import effort_of
from autoprune.pipeline.building import space_for
from autoprune.pipeline.device import target_of
from autoprune.pipeline.plan.base import Plan, PlannedStage, Work
from autoprune.pipeline.plan.clock import Clock, counted_cost
from autoprune.pipeline.plan.stages import stages_of
from autoprune.pipeline.plan.timing import TargetTimes, times_on
from autoprune.pipeline.problem import figure
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.experiment import Experiment

__all__ = ["compress_plan", "progressive_plan", "search_plan"]


def search_plan(task: Task, experiment: Experiment, reporter: Reporter) -> Plan:
    """Lay out a search without fine-tuning; see `compress_plan`."""
    return _plan_of(task, experiment, reporter, Work.SEARCH)


def compress_plan(task: Task, experiment: Experiment, reporter: Reporter) -> Plan:
    """Lay out a job whose preflight has passed; a step of training and a candidate's score are timed on copies.

    Args:
        task: Left as it is.
        experiment: The settings.
        reporter: Shows the stage.
    """
    return _plan_of(task, experiment, reporter, Work.COMPRESS)


def progressive_plan(task: Task, experiment: Experiment, reporter: Reporter) -> Plan:
    """Lay out pruning in measured steps; see `compress_plan`."""
    return _plan_of(task, experiment, reporter, Work.PROGRESSIVE)


def _plan_of(task: Task, experiment: Experiment, reporter: Reporter, work: Work) -> Plan:
    with reporter.stage("plan", "analysing and timing single steps"):
        start, target = time.perf_counter(), target_of(experiment)
        analysis = analyse(task.model, task.example, blocks=experiment.constraints.gates)
        grid = experiment.constraints.granularity or Grid.expected(target)
        space = space_for(experiment, analysis, target, grid, task.name)
        clock = Clock(task, experiment, analysis, space)
        first = PlannedStage("preparation", time.perf_counter() - start, "the same was done just now")
        times = None if target.compiles_long else times_on(target, clock, effort_of(experiment))
        return Plan(
            task.name,
            dict(Counter(decision.kind for decision in space.decisions)),
            dict(space.frozen),
            _budget(clock, times),
            (first, *stages_of(clock, times, work)),
            _written(experiment, work),
            str(experiment.run_dir),
        )


def _budget(clock: Clock, times: TargetTimes | None) -> str:
    """What is asked for, and what is known of its range before anything is profiled."""
    experiment = clock.experiment
    if experiment.accuracy_drop is not None:
        return f"a loss of at most {experiment.accuracy_drop:g}; the fastest network that keeps it is searched for"
    budgets = parsed_budgets(experiment.requested_budgets)
    return "; ".join(_one_budget(clock, budget, times) for budget in budgets)


def _one_budget(clock: Clock, budget: Budget, times: TargetTimes | None) -> str:
    cost = counted_cost(budget, clock.analysis, clock.space)
    if cost is not None:
        least = cost.least()[0]
        return (
            f"{budget}: at most {figure(budget.limit(cost.dense))} of {figure(cost.dense)} {cost.unit}; the least"
            f" reachable is {figure(least)} ({least / cost.dense:.0%})"
        )
    if not budget.metric.timed or budget.target or times is None:
        return f"{budget}; its range is known once it is priced"
    ms = times.dense.ms
    return (
        f"{budget}: at most {figure(budget.limit(ms))} of {figure(ms)} ms, measured just now on"
        f" {clock.experiment.target}; the least reachable is known after the profile"
    )


def _written(experiment: Experiment, work: Work) -> tuple[str, ...]:
    rows = "steps.jsonl" if work is Work.PROGRESSIVE else "episodes.jsonl"
    files = ["experiment.yaml", rows, "tensorboard/", "checkpoint/", "policy.json"]
    if work is not Work.SEARCH:
        files += ["pruned.safetensors", "finetuned.safetensors", "report.json", "report.html"]
    if any(each.metric.timed and not each.target for each in parsed_budgets(experiment.requested_budgets)):
        files.append("latency_table.json")
    return tuple(files)
