"""From a policy to a trained small network: cut from the dense weights each time, distilled from the dense network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoprune.errors import RunError
from autoprune.evaluation import accuracy
from autoprune.models import (
    load_weights,
    read_weights,
    save_weights,
)
from autoprune.models.copying import duplicate
from autoprune.pipeline.finish.gradual import train_in_stages
from autoprune.pipeline.finish.stages import Stage, stages_of
from autoprune.pipeline.finish.trainings import resume_training, run_training, student, train_and_keep
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.sessions import policy_key
from autoprune.pipeline.task import Task
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.training import Trainer, TrainSettings
from autoprune.training.constraint import TrainingConstraint
from autoprune.training.epochs import InEpochs
from autoprune.training.own_loop import train_by_own_loop

__all__ = [
    "FineTuning",
    "begun",
    "checkpoint_of",
    "fine_tune",
    "reported_score",
    "train_dense",
    "train_small",
    "trainer_of",
    "weights_of",
]


def train_dense(problem: Problem, reporter: Reporter) -> None:
    """Train the dense network in place, unless it came with weights, and keep its weights in the run."""
    task, run = problem.task, problem.run
    path, unfinished = run.file("dense.safetensors"), run.file("checkpoint/dense.pt")
    if path.exists():
        unfinished.unlink(missing_ok=True)  # a kill may have come between the two
        if task.trained:
            _refuse_other_weights(task.model, path)
        else:
            load_weights(task.model, path)
            task.trained = True
        return
    if not task.trained:
        epochs = run.experiment.train_epochs or task.data.dense_epochs
        settings = problem.recipe.dense(epochs, run.experiment.seed)
        trainer = Trainer(task.model, InEpochs(task.data.train), settings, loss=task.loss, reader=task.reader)
        with reporter.stage("train", f"training {task.name} on {task.data.name}", settings.epochs) as bar:
            resume_training(trainer, unfinished, bar)
            run_training(trainer, unfinished, bar, f"training {task.name}", reporter)
        task.trained = True
    save_weights(task.model.state_dict(), path)
    unfinished.unlink(missing_ok=True)


def _refuse_other_weights(model: nn.Module, path: Path) -> None:
    """A run's scores and timings are those of one network; another that came with weights must not be overwritten."""
    own = model.state_dict()
    for name, tensor in read_weights(path).items():
        if name not in own or not torch.equal(own[name].cpu(), tensor):
            raise RunError(
                f"{path.parent} was started with other weights of this network ({name} differs);"
                " go on with those, or choose another run"
            )


@dataclass(frozen=True)
class FineTuning:
    """A fine-tuning of a policy's network by the run's recipe.

    Attributes:
        choices: The policy.
        epochs: How long; 0 only re-estimates BatchNorm's statistics.
        seed: Of the order and augmentation of the images.
        start: The policy's network with weights of its own, left as it is; by default it is cut from the dense ones.
    """

    choices: Mapping[str, int]
    epochs: int
    seed: int
    start: nn.Module | None = None

    @property
    def name(self) -> str:
        """Of its files in the run's `checkpoint/`."""
        kind = "tuned" if self.start is None else "carried"
        return f"{kind}-{policy_key(self.choices)}-{self.epochs}-{self.seed}"


def fine_tune(problem: Problem, tuning: FineTuning, reporter: Reporter, what: str) -> nn.Module:
    """The small network of a policy, cut from the dense weights and fine-tuned.

    By the run's recipe on a cosine, with label smoothing, and distillation from the dense network (Hinton et al.,
    2015) unless the task has a loss of its own. What was trained before is read back from the run.

    Args:
        problem: The task and its run.
        tuning: Which network, how long.
        reporter: Who watches.
        what: What this training is for, for people.
    """
    path = weights_of(problem, tuning)
    if tuning.epochs and path.exists():
        known = problem.small(tuning.choices) if tuning.start is None else duplicate(tuning.start)
        load_weights(known, path)
        checkpoint_of(problem, tuning).unlink(missing_ok=True)
        return known
    settings = problem.recipe.finetune(tuning.epochs, tuning.seed)
    small = begun(problem, tuning, reporter, what)
    constraint = problem.stack.constraint(small, tuning.choices)
    stages = _stages(problem, tuning)
    return train_small(
        problem, small, tuning.name, settings, _batches(problem, tuning), reporter, what, constraint, stages
    )


def weights_of(problem: Problem, tuning: FineTuning) -> Path:
    """Where the run keeps what a fine-tuning gave."""
    return problem.run.file(f"checkpoint/{tuning.name}.safetensors")


def checkpoint_of(problem: Problem, tuning: FineTuning) -> Path:
    """Where the run keeps a fine-tuning that is not finished."""
    return problem.run.file(f"checkpoint/{tuning.name}.pt")


def begun(problem: Problem, tuning: FineTuning, reporter: Reporter, what: str) -> nn.Module:
    """The network as its fine-tuning finds it."""
    with reporter.stage("finetune", f"before {what}: cutting, recalibrating"):
        if tuning.start is None:
            return problem.prepared(tuning.choices)
        small = duplicate(tuning.start)  # other statistics are wrong for the cut; a short training would keep them
        reestimate_batch_norm(small, problem.task.data.calibration, reader=problem.task.reader)
        return small


def trainer_of(problem: Problem, tuning: FineTuning, reporter: Reporter, what: str) -> Trainer | None:
    """What fine-tunes a network in one piece; None where a loop of the user's or cuts on the way take its place."""
    if problem.task.finetune is not None or len(_stages(problem, tuning)) > 1:
        return None
    small = begun(problem, tuning, reporter, what)
    settings = problem.recipe.finetune(tuning.epochs, tuning.seed)
    constraint = problem.stack.constraint(small, tuning.choices)
    return student(problem.task, small, _batches(problem, tuning), settings, constraint)


def _batches(problem: Problem, tuning: FineTuning) -> InEpochs:
    return InEpochs(problem.task.data.train, first=(tuning.seed + 1) * 100_003)


def _stages(problem: Problem, tuning: FineTuning) -> list[Stage]:
    if tuning.start is not None:
        return []
    experiment, full = problem.experiment, problem.space.complete(tuning.choices)
    stages = stages_of(problem.space.decisions, full, tuning.epochs, experiment.schedule, experiment.schedule_steps)
    return [*stages[:-1], replace(stages[-1], choices=dict(tuning.choices))]


def train_small(
    problem: Problem,
    small: nn.Module,
    name: str,
    settings: TrainSettings,
    batches: Iterable[Any],
    reporter: Reporter,
    what: str,
    constraint: TrainingConstraint | None = None,
    stages: Sequence[Stage] = (),
) -> nn.Module:
    """Train a cut network in place, distilled from the dense one, unless the run has its weights already.

    A loop of the user's own takes the place of all this; it has batches of its own.

    Args:
        problem: The task and its run.
        small: The network.
        name: Of its files in the run's `checkpoint/`.
        settings: How it is trained; no epochs leave it as it is.
        batches: What it learns from, whose order depends on the epoch alone.
        reporter: Who watches.
        what: What this training is for, for people.
        constraint: What the techniques want every step to keep.
        stages: Networks of gradual pruning, the last of which is this one; up to one is no gradual pruning.
    """
    if settings.epochs == 0:
        return small
    path, unfinished = problem.run.file(f"checkpoint/{name}.safetensors"), problem.run.file(f"checkpoint/{name}.pt")
    if path.exists():
        unfinished.unlink(missing_ok=True)
        load_weights(small, path)
        return small
    task = problem.task
    if task.finetune is not None:
        with reporter.stage("finetune", what):
            kept = train_by_own_loop(task.finetune, small, constraint, settings.epochs, settings.seed)
        if not kept:
            reporter.say(f"{what}: the loop moved weights that must stay as they are; they were put back")
        save_weights(small.state_dict(), path)
        return small
    if len(stages) > 1:
        trained = train_in_stages(problem, stages, settings, batches, unfinished, reporter, what)
        small.load_state_dict(trained.state_dict())
    else:
        trainer = student(task, small, batches, settings, constraint)
        with reporter.stage("finetune", what, settings.epochs) as bar:
            train_and_keep(trainer, path, unfinished, bar, what, reporter)
        return small
    save_weights(small.state_dict(), path)
    unfinished.unlink(missing_ok=True)
    return small


def reported_score(task: Task, model: nn.Module, batches: Iterable[Any]) -> float:
    """The score as it is reported: in float32, where the search may have used bfloat16."""
    if task.evaluate is accuracy:
        return accuracy(model, batches, bf16=False, reader=task.reader)
    return task.score(model, batches)
