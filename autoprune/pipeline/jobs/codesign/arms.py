"""The arms of a search: the chips that take one family of patterns, and the network's decisions under it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.chips import BestChip, ChipTables
from autoprune.cost.terms import Costs
from autoprune.envs import ScoreMemory
from autoprune.errors import InputError
from autoprune.graph import Analysis
from autoprune.hardware.accelerators import Cost, LayerWork, Workload
from autoprune.models.inputs.example import described
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.codesign.designs import Design, Family, family_on, resized
from autoprune.pipeline.jobs.codesign.layers import Layers, layers_of, unpriced, works_under
from autoprune.pipeline.jobs.codesign.prices import ChipPrices, energy_scale, known_prices, table_of
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.search.candidates import scorer_of
from autoprune.pipeline.state import SearchState
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import KEPT, SearchSpace
from autoprune.techniques.base import Technique
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.stack import Stack

__all__ = ["Arm", "arm_of", "problem_on", "runnable", "space_on", "tables_of"]

_FOLDER = "checkpoint/chips"


@dataclass(frozen=True, eq=False)
class Arm:
    """What is searched under one family of patterns.

    Attributes:
        family: Its name.
        problem: The network, its decisions, the scores of its candidates.
        layers: As chips see them.
        designs: The chips, in the order of the tables.
        tables: Their costs.
        memory: Scores of its policies, each once.
    """

    family: str
    problem: Problem
    layers: Layers
    designs: Sequence[Design]
    tables: ChipTables
    memory: ScoreMemory

    def cost(self, objective: str, area: float) -> BestChip:
        """The least that a policy comes to on any of the chips within an area.

        Raises:
            BudgetError: If none is; the smallest is named.
        """
        return BestChip(self.tables, objective, area)

    def own(self, choices: Mapping[str, int]) -> dict[str, int]:
        """What is decided on layers, without what an episode decided on its chip."""
        return {name: choices[name] for name in self.problem.space.names if name in choices}

    def simulated(self, number: int, choices: dict[str, int]) -> Cost:
        """The cost of a policy on one chip, all layers simulated again."""
        chip = self.designs[number].chip
        return chip.total(runnable(chip, works_under(self.layers, self.problem.space, choices)))

    @property
    def fixed(self) -> NDArray[np.int64]:
        """Numbers of the chips as their files have them."""
        return np.array([number for number, design in enumerate(self.designs) if not design.knobs], dtype=np.int64)


def runnable(chip: Any, works: Iterable[LayerWork]) -> list[LayerWork]:
    """Layers as a chip runs them: those whose masks it cannot make use of as dense ones."""
    return [work if chip.why_not(work) is None else work.dense() for work in works]


def space_on(
    task: Task, experiment: Experiment, analysis: Analysis, workload: Workload, family: Family
) -> tuple[tuple[Technique[Any], ...], SearchSpace]:
    """The network's decisions under a family of patterns, and the technique that carries them out.

    Raises:
        InputError: If no layer can have a pattern of the family.
    """
    techniques = techniques_of([family.technique])
    refused = unpriced(analysis, workload)
    limits = replace(experiment.constraints, skip=(*experiment.constraints.skip, *refused), kinds=(KEPT.name,))
    space = space_of(analysis, limits, target=target_of(experiment), grid=1, name=task.name, techniques=techniques)
    space = replace(space, frozen={**space.frozen, **refused})
    if not len(space):
        name, why = next(iter(space.frozen.items()), ("it", "has none that is read as it lies"))
        raise InputError(f"no weight of {task.name} can have a pattern {family.name} ({name}: {why})")
    about = {**space.model, "arguments": task.arguments, "example": described(task.example)}
    return techniques, replace(space, model=about)


def problem_on(task: Task, run: RunDir, analysis: Analysis, workload: Workload, family: Family) -> Problem:
    """The problem of choosing amounts under a family of patterns; nothing is fitted yet.

    Raises:
        InputError: If no layer can have a pattern of the family.
    """
    techniques, space = space_on(task, run.experiment, analysis, workload, family)
    stack = Stack(techniques, analysis, space)
    state = SearchState({}, {}, 1.0)  # nothing is timed
    return Problem(task, run, target_of(run.experiment), analysis, space, stack, (), None, state)


def arm_of(
    problem: Problem, workload: Workload, designs: Sequence[Design], area: float, priced: Callable[[], None]
) -> Arm:
    """The arm of chips of one family, priced.

    Args:
        problem: Of the family, fitted.
        workload: The network's layers.
        designs: Chips of the family with the memories of their files.
        area: What a chip may take, mm2; of larger ones only the smallest is kept.
        priced: Called after each chip.
    """
    layers = layers_of(workload, problem.space, problem.stack)
    designs, tables = tables_of(problem, layers, designs, area, priced)
    return Arm(family_on(designs[0].chip).name, problem, layers, designs, tables, ScoreMemory(scorer_of(problem)))


def tables_of(
    problem: Problem, layers: Layers, designs: Sequence[Design], area: float, priced: Callable[[], None]
) -> tuple[list[Design], ChipTables]:
    """The chips with memories of all sizes within an area, where hardware is searched, and their tables."""
    space, folder = problem.space, problem.run.file(_FOLDER)
    found: list[Design] = []
    parts: list[ChipTables] = []
    for design in designs:
        prices = known_prices(folder, design.chip, layers, space)
        sized = _within(_sizes(problem, design, prices), area)
        scales = _scales(layers, design, sized, prices)
        parts.append(table_of(sized, prices, scales, space))
        found += sized
        priced()
    return found, ChipTables.joined(parts)


def _sizes(problem: Problem, design: Design, prices: ChipPrices) -> list[Design]:
    settings = problem.experiment
    if "hardware" not in settings.searched:
        return [design]
    counts = [len(d.options) for d in problem.space.decisions]
    last = np.cumsum(counts) - 1  # a decision's options follow each other, the sparsest first
    least, most = (_total(prices.needs[[*rows, -1]], design) for rows in (last + 1 - counts, last))
    needs = {memory: (float(least[m]), float(most[m])) for m, memory in enumerate(prices.memories)}
    return list(resized(design, needs))


def _within(designs: list[Design], area: float) -> list[Design]:
    """Those that are not too large; where all are, the smallest."""
    found = [design for design in designs if design.chip.area_mm2 <= area]
    return found or [min(designs, key=lambda design: design.chip.area_mm2)]


def _total(needs: Costs, design: Design) -> Costs:
    found: Costs = needs.max(axis=0) if design.chip.streams_weights else needs.sum(axis=0)
    return found


def _scales(layers: Layers, design: Design, sized: Sequence[Design], prices: ChipPrices) -> list[Costs]:
    """How energy differs from that of the design's own memories."""
    samples = sorted((works[0] for works in layers.decided.values()), key=lambda work: work.mask.size)[:2]
    same = np.ones(len(prices.components))
    return [
        same if each.chip is design.chip else energy_scale(design.chip, each.chip, samples, prices.components)
        for each in sized
    ]
