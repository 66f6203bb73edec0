"""The narrow widths behind a trunk that stays: cut by rank, trained together, each with its own statistics."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from autoprune.criteria.ranking import Ranking
from autoprune.criteria.registry import criterion_of
from autoprune.dynamic_networks.stages import Stage
from autoprune.errors import UnsupportedModelError
from autoprune.graph import analyse
from autoprune.models import load_weights
from autoprune.models.copying import duplicate
from autoprune.models.inputs.example import described
from autoprune.pipeline.device import target_of
from autoprune.pipeline.finish.all_widths import trained_at_widths
from autoprune.pipeline.jobs.settings import DYNAMIC
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.run.directory import RunDir
from autoprune.space import STRUCTURED, Decision, Policy, SearchSpace
from autoprune.techniques.base import Calibration
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.stack import Stack
from autoprune.training.elastic import AllWidths
from autoprune.training.recipe import Recipe

__all__ = ["Narrow", "Widths", "names_in", "widths_behind"]


@dataclass(frozen=True, eq=False)
class Narrow:
    """One narrow width.

    Attributes:
        name: The share of units that its decisions keep, for people.
        choices: Kept units by decision.
    """

    name: str
    choices: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Widths:
    """What may be narrower behind a trunk, and at which widths.

    Attributes:
        stack: The technique that cuts, fitted.
        trunk: Names of the tensors that no width changes.
        narrow: From the narrowest on.
    """

    stack: Stack
    trunk: frozenset[str]
    narrow: tuple[Narrow, ...]

    def raw(self, model: nn.Module, width: Narrow) -> nn.Module:
        """A width's network, with the weights of the dense one or of a trained copy."""
        return self.stack.apply(model, width.choices)

    def policy(self, width: Narrow, seed: int) -> Policy:
        """What rebuilds a width's shapes."""
        return self.stack.policy(self.stack.space.complete(width.choices), agent=DYNAMIC, seed=seed)

    def trained(self, task: Task, run: RunDir, reporter: Reporter) -> list[nn.Module]:
        """The networks of all widths, in evaluation mode; trained once a run.

        One copy of the dense network is trained at all widths at once, its trunk frozen: the sandwich rule, the whole
        width as the teacher of the narrow ones. Each width gets BatchNorm statistics of its own; the trunk keeps the
        dense network's.
        """
        experiment = run.experiment
        copy = duplicate(task.model)
        for name, parameter in copy.named_parameters():
            parameter.requires_grad_(name not in self.trunk)
        network = AllWidths(copy, self.stack.analysis, self._kept, self._options())
        recipe = Recipe.chosen(experiment, attention=self.stack.analysis.has_attention)
        settings = recipe.plain(experiment.dynamic_epochs, experiment.seed)
        path = run.file("checkpoint/widths.safetensors")
        load_weights(copy, trained_at_widths(network, copy, task, settings, path, reporter))
        return [self._finished(copy, task, width) for width in self.narrow]

    def _finished(self, copy: nn.Module, task: Task, width: Narrow) -> nn.Module:
        small = self.raw(copy, width)
        dense = dict(task.model.named_buffers())
        with torch.no_grad():
            for name, buffer in small.named_buffers():
                if name in self.trunk:
                    buffer.copy_(dense[name])
        owned = {name.rpartition(".")[0] for name in self.trunk}
        behind = {name for name, _ in small.named_modules() if name not in owned}
        reestimate_batch_norm(small, task.data.calibration, reader=task.reader, only=behind)
        return small.eval()

    def _kept(self, choices: Mapping[str, int]) -> dict[str, list[int]]:
        ranking: Ranking = self.stack.fitted.get(STRUCTURED) or Ranking()
        return ranking.kept(self.stack.space.units(choices))

    def _options(self) -> dict[str, list[int]]:
        found = {}
        for decision in self.stack.space.decisions:
            widths = {width.choices[decision.name] for width in self.narrow}
            found[decision.name] = sorted(widths | {decision.width})
        return found


def names_in(stage: Stage) -> frozenset[str]:
    """Names of the parameters and buffers that a stage reads."""
    graph = getattr(stage.module, "graph")  # noqa: B009 - a stage's module is a graph; its type says less
    return frozenset(str(node.target) for node in graph.nodes if node.op == "get_attr")


def widths_behind(
    task: Task, run: RunDir, trunk: frozenset[str], shares: Sequence[float], reporter: Reporter
) -> Widths:
    """Lay out the widths of what lies behind a trunk.

    Args:
        task: The trained network.
        run: Its settings.
        trunk: Names of the tensors that stay as they are.
        shares: Of the units that are kept, ascending.
        reporter: Shows the stage.

    Raises:
        UnsupportedModelError: If nothing behind the trunk can be narrower.
    """
    with reporter.stage("analyse", f"analysing {task.name}") as bar:
        analysis = analyse(task.model, task.example, progress=bar)
    target, techniques = target_of(run.experiment), techniques_of([STRUCTURED])
    space = space_of(analysis, grid=target.channel_multiple, name=task.name, techniques=techniques)
    about = {**space.model, "arguments": task.arguments, "example": described(task.example)}
    space = replace(space, model=about)
    bare = Stack(techniques, analysis, space)
    free = {d.name for d in space.decisions if _lies_behind(bare, d, trunk)}
    narrow = tuple(Narrow(f"width {share:.0%}", _choices(space, free, share)) for share in shares)
    distinct = _distinct(narrow, {d.name: d.width for d in space.decisions})
    if not distinct:
        raise UnsupportedModelError(
            f"nothing of {task.name} that lies behind its first block alone can be made narrower; see autoprune inspect"
        )
    data = Calibration(criterion_of(run.experiment.criterion), task.data.calibration, task.loss, task.reader)
    return Widths(bare.fit(task.model, data), trunk, distinct)


def _lies_behind(bare: Stack, decision: Decision, trunk: frozenset[str]) -> bool:
    """Whether a decision is about widths, and changes no tensor of the trunk."""
    if decision.at(0.0) == decision.width:  # a block, which stays
        return False
    whole = {each.name: each.width for each in bare.space.decisions}
    return trunk.isdisjoint(bare.slices(whole | {decision.name: decision.options[0]}))


def _choices(space: SearchSpace, free: Collection[str], share: float) -> dict[str, int]:
    return {d.name: d.at(share) if d.name in free else d.width for d in space.decisions}


def _distinct(narrow: Sequence[Narrow], whole: Mapping[str, int]) -> tuple[Narrow, ...]:
    """Widths that differ from the whole network's and from each other: a coarse grid may make two alike."""
    found: list[Narrow] = []
    for each in narrow:
        if each.choices != whole and (not found or found[-1].choices != each.choices):
            found.append(each)
    return tuple(found)
