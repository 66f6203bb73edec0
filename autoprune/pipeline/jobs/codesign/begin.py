"""From a task to a study: the layers, the chips, the arms, and what is refused before anything is searched."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from autoprune.cost.chips import BestChip
from autoprune.errors import BudgetError, InputError
from autoprune.graph import Analysis, analyse
from autoprune.hardware.accelerators import Workload, workload_of
from autoprune.pipeline.finish.fine_tuning import train_dense
from autoprune.pipeline.jobs.codesign.arms import Arm, arm_of, problem_on
from autoprune.pipeline.jobs.codesign.designs import Design, Family, cores_of, family_on
from autoprune.pipeline.jobs.codesign.layers import calls_of
from autoprune.pipeline.jobs.codesign.room import refused_room
from autoprune.pipeline.jobs.codesign.study import Study
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir

__all__ = ["begun", "families_of", "problems_of"]


def families_of(designs: Sequence[Design]) -> dict[Family, list[Design]]:
    """Chips by the family of patterns that they take; the first chip's comes first."""
    found: dict[Family, list[Design]] = {}
    for design in designs:
        found.setdefault(family_on(design.chip), []).append(design)
    return found


def problems_of(
    task: Task, run: RunDir, analysis: Analysis, workload: Workload, families: Sequence[Family], reporter: Reporter
) -> dict[Family, Problem]:
    """The network's decisions under each family; chips whose pattern no layer can have are left out, and said.

    Raises:
        InputError: If there is no other.
    """
    found: dict[Family, Problem] = {}
    for family in families:
        try:
            found[family] = problem_on(task, run, analysis, workload, family)
        except InputError as error:
            if not found and family == families[-1]:
                raise
            reporter.say(f"left out: {error}")
    return found


def begun(task: Task, run: RunDir, reporter: Reporter) -> tuple[Study, Workload]:
    """Everything up to the search.

    Raises:
        InputError: If no layer can have the pattern of a chip.
        UnsupportedModelError: If the network multiplies with weights in a way that is not priced.
        BudgetError: If no chip is within the area, or no network within the limit; the least is named.
    """
    settings = run.experiment
    designs = cores_of(settings, settings.seed)
    area = settings.area_mm2 or designs[0].chip.area_mm2
    if "hardware" not in settings.searched:
        _refuse_area(min(design.chip.area_mm2 for design in designs), area)
    with reporter.stage("analyse", f"analysing {task.name}") as bar:
        analysis = analyse(task.model, task.example, progress=bar)
        families = families_of(designs)
        problems = problems_of(task, run, analysis, _layers_now(task, run), list(families), reporter)
    if not task.trained:  # masks are chosen of trained weights
        run.mark_started()
        train_dense(next(iter(problems.values())), reporter)
    workload = _layers_now(task, run)
    with reporter.stage("profile", "pricing layers on chips", len(designs)) as bar:
        counted = itertools.count(1)
        arms = [
            arm_of(problem.ranked(lambda _: {}), workload, families[family], area, lambda: bar.update(next(counted)))
            for family, problem in problems.items()
        ]
    study = _study(run, arms, designs[0], area, reporter)
    run.mark_started()
    train_dense(arms[0].problem, reporter)  # of one that came with weights they are kept
    for arm in study.arms:
        for name, why in arm.problem.space.frozen.items():
            reporter.say(f"{name} stays dense under {arm.family}: {why}")
    return study, workload


def _layers_now(task: Task, run: RunDir) -> Workload:
    settings = run.experiment
    found = workload_of(task.model, task.example, calls_of(task), vectors=settings.vectors, seed=settings.seed)
    found.require_priced()
    return found


def _refuse_area(least: float, area: float) -> None:
    if least > area:
        raise BudgetError(f"no chip takes {area:.4g} mm2 or less; the smallest takes {least:.4g} mm2", least)


def _study(run: RunDir, arms: Sequence[Arm], first: Design, area: float, reporter: Reporter) -> Study:
    """The arms that have a chip within the area and hold a network within the limit, and the fixed chip.

    Raises:
        BudgetError: If there is none; the least is named.
    """
    settings = run.experiment
    least = min(float(arm.tables.area.min()) for arm in arms)
    _refuse_area(least, area)
    able = [arm for arm in arms if float(arm.tables.area.min()) <= area]
    costs = {arm: arm.cost(settings.objective, area) for arm in able}
    reached = {arm: cost.least()[0] for arm, cost in costs.items()}
    fitting = [arm for arm in able if reached[arm] < costs[arm].ceiling]
    if not fitting:
        raise refused_room(arms, area)
    for arm in arms:
        if arm not in fitting:
            reporter.say(f"no chip for {arm.family} is within {area:.4g} mm2 and holds a network; it is left out")
    fixed = _fixed(fitting[0], first, costs[fitting[0]])
    dense = _dense(fitting[0], fixed, settings.objective)
    limit = settings.limit(dense)
    best = min(reached[arm] for arm in fitting)
    if limit is not None and best > limit:
        unit = costs[fitting[0]].unit
        raise BudgetError(
            f"{settings.at_most} ({limit:.4g} {unit}) of {settings.objective} cannot be met: the least reachable is"
            f" {best:.4g} {unit}, {best / dense:.1%} of dense on the fixed chip",
            best,
        )
    within = [arm for arm in fitting if limit is None or reached[arm] <= limit]
    if within[0] is not fitting[0]:
        fixed = _fixed(within[0], first, costs[within[0]])
    return Study(run, within, fixed, area, np.inf if limit is None else limit, reporter)


def _fixed(arm: Arm, first: Design, cost: BestChip) -> int:
    """The first accelerator as its file has it; where it is too large, the chip that suits the dense network best."""
    for number, design in enumerate(arm.designs):
        if design.source == first.source and not design.knobs and number in cost.numbers:
            return number
    return int(cost.chip_of(arm.problem.space.indices({})[None])[0])


def _dense(arm: Arm, chip: int, objective: str) -> float:
    """What the dense network takes on a chip, whether its weights fit or not."""
    alone = BestChip(arm.tables.only([chip]), objective)
    sums = alone.every.sums(arm.problem.space.indices({})[None])
    return float(alone.objective.of(sums.ms, sums.mj)[0, 0])
