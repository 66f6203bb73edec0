"""One training of a study: from some weights under a mask to the end of the schedule, scored after every epoch.

A level is a seed, an arm and a round. What it came to is a row of `rounds.jsonl`; a process that is killed loses an
epoch of the level that it was at.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.examples import labels_in
from autoprune.foundations.files import replacing
from autoprune.models.layout import computing
from autoprune.models.modes import in_mode
from autoprune.models.outputs import in_float32, moved, output_of
from autoprune.models.own_loss import own_loss
from autoprune.models.precision import device_of
from autoprune.pipeline.finish.fine_tuning import reported_score
from autoprune.pipeline.finish.trainings import read_state
from autoprune.pipeline.task import Task
from autoprune.training import Trainer, TrainSettings
from autoprune.training.constraint import Masks
from autoprune.training.epochs import InEpochs

__all__ = ["ROWS", "Level", "Shelf", "Start", "Tick", "validation_loss"]

ROWS = "rounds.jsonl"
"""A line for every training that is finished."""

Tick = Callable[[float], None]


class Shelf(Protocol):
    """Where a study keeps its files: a run's folder, or a part of it."""

    def file(self, name: str) -> Path:
        """Path of a file."""

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Every whole line of a file of rows."""

    def append_row(self, name: str, row: dict[str, Any]) -> None:
        """Add a line to a file of rows."""


_UNFINISHED, _SAVE_EVERY = "checkpoint/level.pt", 5.0  # seconds between two checkpoints


@dataclass(frozen=True, eq=False)
class Start:
    """What a training begins with.

    Attributes:
        network: Trained in place.
        masks: Name of a weight -> bool: which of its elements are trained.
        step: Steps of the schedule that count as done.
    """

    network: nn.Module
    masks: Mapping[str, Tensor]
    step: int = 0


@dataclass
class _Best:
    """The epoch of least validation loss so far, and the weights that it left."""

    loss: float = math.inf
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Level:
    """A training of the study.

    Attributes:
        seed: Which repetition.
        arm: `dense`, `ticket`, or a control.
        round: Prunings before it.
        task: Data, loss and score.
        run: Where its row and its checkpoint are kept.
        settings: The whole schedule.
        batches: What all arms of the seed learn from.
    """

    seed: int
    arm: str
    round: int
    task: Task
    run: Shelf
    settings: TrainSettings
    batches: InEpochs

    @property
    def key(self) -> str:
        """What tells it from the others."""
        return f"{self.arm}, seed {self.seed}, round {self.round}"

    def trained(self, start: Start, tick: Tick, keep_at: int | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Train to the end of the schedule and score it; goes on where a killed process stopped.

        Args:
            start: Changed in place.
            tick: Called after every epoch with the validation loss.
            keep_at: Step whose weights are wanted.

        Returns:
            The row, not yet written, and the weights after step `keep_at`; empty if none were wanted.
        """
        begun = time.perf_counter()
        trainer = Trainer(
            start.network,
            self.batches,
            replace(self.settings, distil_weight=0.0, seed=self.seed),
            loss=self.task.loss,
            constraint=Masks(start.masks),
            reader=self.task.reader,
            start_step=start.step,
            keep_at=keep_at,
        )
        best = self._resumed(trainer)
        self._run(trainer, best, tick)
        row = self._row(trainer, best, start) | {"seconds": round(time.perf_counter() - begun, 3)}
        return row, trainer.kept or {}

    def _run(self, trainer: Trainer, best: _Best, tick: Tick) -> None:
        saved, epochs = time.monotonic(), self.settings.epochs
        steps = trainer.steps // max(1, epochs)
        while trainer.epoch < epochs:
            trainer.run(1)
            loss = validation_loss(self.task, trainer.model)
            if loss < best.loss:
                best.loss, best.step = loss, trainer.epoch * steps
                best.weights = {name: t.detach().clone() for name, t in trainer.model.state_dict().items()}
            if time.monotonic() - saved > _SAVE_EVERY:
                self._save(trainer, best)
                saved = time.monotonic()
            tick(loss)

    def _row(self, trainer: Trainer, best: _Best, start: Start) -> dict[str, Any]:
        """What the training came to; the test split is read here, for both of the level's networks."""
        task, network = self.task, trainer.model
        score = reported_score(task, network, task.data.test)
        kept = sum(int(mask.sum()) for mask in start.masks.values())
        total = sum(mask.numel() for mask in start.masks.values())
        row = {
            "seed": self.seed,
            "arm": self.arm,
            "round": self.round,
            "density": kept / total if total else 1.0,
            "weights": kept,
            "score": score,
            "validation": reported_score(task, network, task.data.search),
            "loss": validation_loss(task, network),
            "steps": trainer.steps - start.step,
            "early_step": best.step,
            "early_score": score,
        }
        if best.weights:
            last = {name: t.detach().clone() for name, t in network.state_dict().items()}
            network.load_state_dict(best.weights)
            row["early_score"] = reported_score(task, network, task.data.test)
            network.load_state_dict(last)
        return row

    def _save(self, trainer: Trainer, best: _Best) -> None:
        content = io.BytesIO()
        torch.save({"level": self.key, "trainer": trainer.state_dict(), "best": asdict(best)}, content)
        with replacing(self.run.file(_UNFINISHED)) as temporary:
            temporary.write_bytes(content.getbuffer())

    def _resumed(self, trainer: Trainer) -> _Best:
        """Take up the level's checkpoint, if it is of this level."""
        path = self.run.file(_UNFINISHED)
        if not path.exists():
            return _Best()
        state = read_state(path)
        if state.get("level") != self.key:
            return _Best()
        trainer.load_state_dict(state["trainer"])
        return _Best(**state["best"])

    def finish(self, row: Mapping[str, Any]) -> None:
        """Write the level's row; its checkpoint is needed no more."""
        self.run.append_row(ROWS, dict(row))
        self.run.file(_UNFINISHED).unlink(missing_ok=True)


def validation_loss(task: Task, network: nn.Module) -> float:
    """Mean loss of a network over the search split, in float32; a batch counts by its images.

    Raises:
        InputError: If a batch has no labels, and there is no loss of the user's own.
    """
    device, total, images = device_of(network), 0.0, 0
    with in_mode(network), torch.no_grad(), computing(device, False):
        for batch in task.data.search:
            batch = moved(batch, device)
            given = task.reader.call(network, batch)
            total += float(_loss(task, given.run(network), batch)) * given.batch
            images += given.batch
    return total / max(1, images)


def _loss(task: Task, output: Any, batch: Any) -> Tensor:
    if task.loss is not None:
        return own_loss(task.loss, in_float32(output), batch)
    labels = labels_in(batch)
    if labels is None:
        raise InputError("a search batch has no labels; give (images, labels) batches, or a loss of your own")
    return nn.functional.cross_entropy(output_of(output).float(), labels.long())
