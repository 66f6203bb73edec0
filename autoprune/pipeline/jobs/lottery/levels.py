"""One training of a study: from some weights under a mask to the end of the schedule, scored after every epoch.

A level is a seed, an arm and a round. What it came to is a row of `rounds.jsonl`; a process that is killed loses an
epoch of the level that it was at.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
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

__all__ = [
    "ROWS",
    "SAVE_EVERY",
    "UNFINISHED",
    "Best",
    "Level",
    "Shelf",
    "Start",
    "Tick",
    "save_unfinished",
    "unfinished",
    "validation_loss",
]

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


UNFINISHED = "checkpoint/level.pt"
"""What a training that was killed goes on from."""

SAVE_EVERY = 5.0
"""Seconds between two checkpoints."""


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
class Best:
    """The epoch of least validation loss so far, and the weights that it left."""

    loss: float = math.inf
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def see(self, loss: float, step: int, network: nn.Module) -> None:
        """Take the network as it is now, if its loss is the least so far."""
        if loss < self.loss:
            self.loss, self.step = loss, step
            self.weights = {name: t.detach().clone() for name, t in network.state_dict().items()}


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
        row = self.row(start, trainer.steps, best) | {"seconds": round(time.perf_counter() - begun, 3)}
        return row, trainer.kept or {}

    def _run(self, trainer: Trainer, best: Best, tick: Tick) -> None:
        saved, epochs = time.monotonic(), self.settings.epochs
        steps = trainer.steps // max(1, epochs)
        while trainer.epoch < epochs:
            trainer.run(1)
            loss = validation_loss(self.task, trainer.model)
            best.see(loss, trainer.epoch * steps, trainer.model)
            if time.monotonic() - saved > SAVE_EVERY:
                save_unfinished(self.run, self.key, trainer.state_dict(), [best])
                saved = time.monotonic()
            tick(loss)

    def row(self, start: Start, steps: int, best: Best) -> dict[str, Any]:
        """What the training came to; the test split is read here, for both of the level's networks.

        Args:
            start: What it began with; the network is trained.
            steps: Of the whole schedule.
            best: The epoch of least validation loss.
        """
        task, network = self.task, start.network
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
            "steps": steps - start.step,
            "early_step": best.step,
            "early_score": score,
        }
        if best.weights:
            last = {name: t.detach().clone() for name, t in network.state_dict().items()}
            network.load_state_dict(best.weights)
            row["early_score"] = reported_score(task, network, task.data.test)
            network.load_state_dict(last)
        return row

    def _resumed(self, trainer: Trainer) -> Best:
        """Take up the level's checkpoint, if it is of this level."""
        found = unfinished(self.run, self.key)
        if found is None:
            return Best()
        state, (best,) = found
        trainer.load_state_dict(state)
        return best

    def finish(self, row: Mapping[str, Any]) -> None:
        """Write the level's row; its checkpoint is needed no more."""
        self.run.append_row(ROWS, dict(row))
        self.run.file(UNFINISHED).unlink(missing_ok=True)


def save_unfinished(
    run: Shelf, key: str, trainer: Mapping[str, Any], bests: Sequence[Best], name: str = UNFINISHED
) -> None:
    """Keep what a training goes on from when its process is killed.

    Args:
        run: Where.
        key: Of which level, or of which that are trained as one.
        trainer: The trainer's state.
        bests: The best epochs of its networks.
        name: Of the file.
    """
    content = io.BytesIO()
    torch.save({"level": key, "trainer": dict(trainer), "bests": [asdict(best) for best in bests]}, content)
    with replacing(run.file(name)) as temporary:
        temporary.write_bytes(content.getbuffer())


def unfinished(run: Shelf, key: str, name: str = UNFINISHED) -> tuple[dict[str, Any], list[Best]] | None:
    """The trainer's state and the best epochs that were kept, if they are of this key and this version."""
    path = run.file(name)
    state = read_state(path) if path.exists() else {}
    if state.get("level") != key or "bests" not in state:
        return None
    return state["trainer"], [Best(**best) for best in state["bests"]]


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
