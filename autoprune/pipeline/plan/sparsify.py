"""What `autoprune sparsify` would do, with estimated seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.errors import InputError
from autoprune.graph import Analysis, analyse
from autoprune.hardware.timing.effort import effort_named
from autoprune.masks.assigned import Assigned, masks_of
from autoprune.masks.parsing import pattern_of
from autoprune.masks.unstructured import Unstructured
from autoprune.models.copying import duplicate
from autoprune.pipeline.building import space_for
from autoprune.pipeline.device import target_of
from autoprune.pipeline.finish.lengths import final_epochs
from autoprune.pipeline.finish.trainings import student
from autoprune.pipeline.jobs.sparsify.recipes import FROM_SCRATCH
from autoprune.pipeline.plan.base import Plan, PlannedStage
from autoprune.pipeline.plan.steps import test_score, training_step
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task, require_trainable
from autoprune.run.experiment import Experiment
from autoprune.space import SearchSpace
from autoprune.techniques.sparsity.tensors import weights_of
from autoprune.training import Trainer
from autoprune.training.constraint import Masks
from autoprune.training.recipe import Recipe
from autoprune.training.trainer import count_batches

__all__ = ["sparsify_plan"]

_WRITTEN = ("experiment.yaml", "checkpoint/", "dense.safetensors", "policy.json", "pruned.safetensors",
            "finetuned.safetensors", "tensorboard/", "report.json", "report.html")  # fmt: skip


def sparsify_plan(task: Task, experiment: Experiment, reporter: Reporter) -> Plan:
    """Lay out a job whose preflight has passed: steps under masks, a score and the dense network are timed.

    Args:
        task: Left as it is.
        experiment: The settings.
        reporter: Shows the stage.

    Raises:
        InputError: If no weight can have the pattern, or there is nothing to train on.
    """
    if experiment.sparse_recipe != "one-shot":
        require_trainable(task)
    with reporter.stage("plan", "analysing and timing single steps"):
        start, target = time.perf_counter(), target_of(experiment)
        analysis = analyse(task.model, task.example, blocks=experiment.constraints.gates)
        space = space_for(experiment, analysis, target, 1, task.name)
        assigned = _assigned(experiment, analysis, space)
        marks = [start, time.perf_counter()]
        effort = effort_named(experiment.timing)
        target.time([target.pack(task.model, task.timed_example)], effort.plan(effort.seconds).protocol)
        marks.append(time.perf_counter())
        trainings = _Trainings(task, experiment, Recipe.chosen(experiment, attention=analysis.has_attention), assigned)
        stages = (
            PlannedStage("preparation", marks[1] - marks[0], "the same was done just now"),
            *trainings.stages(),
            PlannedStage("verify", effort.passes * 2 * (marks[2] - marks[1]), "dense and sparse network, in turns"),
            PlannedStage("test", trainings.scores * test_score(task), f"{trainings.scores} networks, one scored"),
        )
    said = f"{experiment.pattern} by {experiment.criterion}, recipe {experiment.sparse_recipe}"
    if experiment.weight_update != "none":
        said += "; the layers' new weights by SparseGPT come on top"
    frozen = dict(space.frozen)
    return Plan(task.name, {"weight": len(assigned)}, frozen, said, stages, _WRITTEN, str(experiment.run_dir))


def _assigned(experiment: Experiment, analysis: Analysis, space: SearchSpace) -> dict[str, Assigned]:
    pattern, known = pattern_of(experiment.pattern), weights_of(analysis).weights
    offered = {name: Assigned(known[name].planes, pattern) for name in space.names}
    found = {name: one for name, one in offered.items() if one.why_not(known[name].sizes) is None}
    if not found:
        raise InputError(f"no weight of the network can have the pattern {experiment.pattern}")
    return found


@dataclass(frozen=True)
class _Trainings:
    task: Task
    experiment: Experiment
    recipe: Recipe
    assigned: dict[str, Assigned]

    @property
    def baselines(self) -> int:
        """Random masks, and of a share of all layers together the same share of each."""
        pattern = pattern_of(self.experiment.pattern)
        return 2 if isinstance(pattern, Unstructured) and pattern.across else 1

    @property
    def scores(self) -> int:
        """Networks that are scored on the test split: dense, before and after training, baselines."""
        return 3 + self.baselines * (2 if self.experiment.train_baselines else 1)

    def stages(self) -> Iterator[PlannedStage]:
        """Of the dense network, where it comes untrained, and under the masks."""
        experiment, data = self.experiment, self.task.data
        dense = experiment.train_epochs or data.dense_epochs
        if not self.task.trained:
            yield self._stage("training of the dense network", dense)
        scratch = experiment.sparse_recipe == FROM_SCRATCH and not self.task.trained
        epochs = 0 if experiment.sparse_recipe == "one-shot" else dense if scratch else final_epochs(experiment, data)
        yield self._stage("training under the masks", epochs)
        if experiment.train_baselines:
            yield self._stage("training of the baselines", self.baselines * epochs)

    def _stage(self, name: str, epochs: int) -> PlannedStage:
        if not epochs:
            return PlannedStage(name, 0.0, "no epochs")
        if self.task.finetune is not None and name != "training of the dense network":
            return PlannedStage(name, 0.0, f"{epochs} epochs of your own loop, which is not timed")
        step, steps = training_step(self.task, self._trainer), count_batches(self.task.data.train)
        return PlannedStage(name, epochs * steps * step, f"{epochs} epochs of {steps} steps, one timed at {step:.3f} s")

    def _trainer(self, batches: Sequence[Any]) -> Trainer:
        """Of a copy under masks of its largest weights, with the dense network as its teacher."""
        network = duplicate(self.task.model)
        sizes = {name: network.get_parameter(name).detach().abs() for name in self.assigned}
        settings = self.recipe.finetune(1, self.experiment.seed)
        return student(self.task, network, batches, settings, Masks(masks_of(self.assigned, sizes)))
