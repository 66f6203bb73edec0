"""From a policy to a trained small network: cut from the dense weights each time, distilled from the dense network."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoprune.errors import InputError, RunError
from autoprune.evaluation import accuracy
from autoprune.foundations.files import replacing
from autoprune.models import (
    load_weights,
    read_weights,
    save_weights,
)
from autoprune.models.copying import duplicate
from autoprune.models.inputs.example import as_example
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Bar, Reporter
from autoprune.pipeline.search.sessions import policy_key
from autoprune.pipeline.task import Task
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.training import EpochResult, Trainer, TrainSettings
from autoprune.training.constraint import TrainingConstraint
from autoprune.training.epochs import InEpochs
from autoprune.training.features import FeatureDistillation, matches
from autoprune.training.own_loop import train_by_own_loop
from autoprune.training.stalls import StepWatch

__all__ = ["fine_tune", "reported_score", "train_dense", "train_small"]

_SAVE_EVERY = 5.0  # seconds between two checkpoints of a training


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
            _run(trainer, unfinished, bar, f"training {task.name}", reporter)
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


def fine_tune(
    problem: Problem,
    choices: Mapping[str, int],
    epochs: int,
    seed: int,
    reporter: Reporter,
    what: str,
    *,
    start: nn.Module | None = None,
) -> nn.Module:
    """The small network of a policy, cut from the dense weights and fine-tuned.

    By the run's recipe on a cosine, with label smoothing, and distillation from the dense network (Hinton et al.,
    2015) unless the task has a loss of its own. What was trained before is read back from the run.

    Args:
        problem: The task and its run.
        choices: The policy.
        epochs: How long; 0 only re-estimates BatchNorm's statistics.
        seed: Of the order and augmentation of the images.
        reporter: Who watches.
        what: What this training is for, for people.
        start: The policy's network with weights of its own, left as it is; by default it is cut from the dense ones.
    """
    with reporter.stage("finetune", f"before {what}: cutting, recalibrating"):
        if start is None:
            small = problem.prepared(choices)
        else:  # other statistics are wrong for the cut, and a short fine-tuning would keep much of them
            small = duplicate(start)
            reestimate_batch_norm(small, problem.task.data.calibration, reader=problem.task.reader)
    name = f"{'tuned' if start is None else 'carried'}-{policy_key(choices)}-{epochs}-{seed}"
    settings = problem.recipe.finetune(epochs, seed)
    batches = InEpochs(problem.task.data.train, first=(seed + 1) * 100_003)
    constraint = problem.stack.constraint(small, choices)
    return train_small(problem, small, name, settings, batches, reporter, what, constraint)


def train_small(
    problem: Problem,
    small: nn.Module,
    name: str,
    settings: TrainSettings,
    batches: Iterable[Any],
    reporter: Reporter,
    what: str,
    constraint: TrainingConstraint | None = None,
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
    trainer = student(task, small, batches, settings, constraint)
    with reporter.stage("finetune", what, settings.epochs) as bar:
        _run(trainer, unfinished, bar, what, reporter)
    save_weights(small.state_dict(), path)
    unfinished.unlink(missing_ok=True)
    return small


def student(
    task: Task,
    small: nn.Module,
    batches: Iterable[Any],
    settings: TrainSettings,
    constraint: TrainingConstraint | None,
) -> Trainer:
    """A trainer of a cut network, with the dense one as its teacher.

    Nobody knows what an own loss makes of a network's outputs, so these are not distilled then; features are.
    """
    weight = settings.distil_weight if task.loss is None else 0.0
    found = matches(small, task.model, as_example(task.example)) if settings.feature_weight else ()
    return Trainer(
        small,
        batches,
        replace(settings, distil_weight=weight),
        teacher=task.model,
        loss=task.loss,
        constraint=constraint,
        reader=task.reader,
        features=FeatureDistillation(small, task.model, found, settings.seed) if found else None,
    )


def _run(trainer: Trainer, checkpoint: Path, bar: Bar, what: str, reporter: Reporter) -> None:
    """Train to the end, from the checkpoint if there is one; who saves the weights then removes it."""
    if checkpoint.exists():
        trainer.load_state_dict(_read(checkpoint))
        bar.begin(trainer.epoch)
    saved, watch = time.monotonic(), StepWatch(what, reporter.say)
    figures: dict[str, str] = {}

    def stepped(number: int, steps: int) -> None:
        watch.step(number, steps)
        bar.update(trainer.epoch, **figures, step=f"{number}/{steps}")

    def after(result: EpochResult) -> None:
        nonlocal saved
        figures["loss"] = f"{result.loss:.3f}"
        reporter.happened("epoch", asdict(result))
        if time.monotonic() - saved > _SAVE_EVERY:
            content = io.BytesIO()  # torch's own writer reports a full disk as a RuntimeError
            torch.save(trainer.state_dict(), content)
            with replacing(checkpoint) as temporary:
                temporary.write_bytes(content.getbuffer())
            saved = time.monotonic()
        watch.epoch(result.epoch)
        bar.update(result.epoch, **figures)  # last: whoever watches may end the job here

    watch.epoch(trainer.epoch)
    with watch:
        trainer.run(on_epoch=after, on_step=stepped)


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    except Exception as error:  # torch raises whatever the damage makes it raise
        raise InputError(f"{checkpoint} is damaged; remove it to train that part again") from error
    return state


def reported_score(task: Task, model: nn.Module, batches: Iterable[Any]) -> float:
    """The score as it is reported: in float32, where the search may have used bfloat16."""
    if task.evaluate is accuracy:
        return accuracy(model, batches, bf16=False, reader=task.reader)
    return task.score(model, batches)
