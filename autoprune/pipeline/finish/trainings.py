"""A training of the run: who is its teacher, and how it is kept so that it can be taken up again."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.foundations.files import replacing
from autoprune.models import save_weights
from autoprune.models.inputs.example import as_example
from autoprune.pipeline.finish.group import run_together
from autoprune.pipeline.reporter import Bar, Reporter
from autoprune.pipeline.task import Task
from autoprune.training import EpochResult, Trainer, TrainSettings
from autoprune.training.constraint import TrainingConstraint
from autoprune.training.ingredients.features import FeatureDistillation, matches
from autoprune.training.stalls import StepWatch

__all__ = ["read_state", "resume_training", "run_training", "student", "train_and_keep"]

_SAVE_EVERY = 5.0  # seconds between two checkpoints of a training


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


def train_and_keep(trainer: Trainer, weights: Path, checkpoint: Path, bar: Bar, what: str, reporter: Reporter) -> None:
    """Train from where the checkpoint left off to the end, and keep the weights in its place."""
    resume_training(trainer, checkpoint, bar)
    run_training(trainer, checkpoint, bar, what, reporter)
    save_weights(trainer.model.state_dict(), weights)
    checkpoint.unlink(missing_ok=True)


def resume_training(trainer: Trainer, checkpoint: Path, bar: Bar) -> None:
    """Take up what the checkpoint holds, if there is one."""
    if checkpoint.exists():
        trainer.load_state_dict(read_state(checkpoint))
        bar.begin(trainer.epoch)


def run_training(
    trainer: Trainer, checkpoint: Path, bar: Bar, what: str, reporter: Reporter, until: int | None = None
) -> None:
    """Train to the end, or until so many epochs are done; who saves the weights then removes the checkpoint."""
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
        epochs = None if until is None else until - trainer.epoch
        run_together(trainer, epochs, reporter.say, on_epoch=after, on_step=stepped)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The state of an unfinished training.

    Raises:
        InputError: If the file is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    except Exception as error:  # torch raises whatever the damage makes it raise
        raise InputError(f"{checkpoint} is damaged; remove it to train that part again") from error
    return state
