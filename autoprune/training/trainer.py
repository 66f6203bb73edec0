"""The trainer: fine-tuning and training from scratch, resumable after every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError, first_line
from autoprune.foundations.seeding import seeded, stream
from autoprune.foundations.user_code import UserCode, path_of
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.models.layout import chosen_layout, in_layout
from autoprune.models.modes import in_mode
from autoprune.models.outputs import moved
from autoprune.models.precision import device_of
from autoprune.training.constraint import SteppingConstraint, TrainingConstraint
from autoprune.training.ingredients.average import WeightAverage
from autoprune.training.ingredients.features import FeatureDistillation
from autoprune.training.ingredients.mixup import Mixup
from autoprune.training.losses import Loss
from autoprune.training.objective import Objective
from autoprune.training.optimizers import make_optimizer
from autoprune.training.ranks import Ranks
from autoprune.training.schedule import share_of_peak
from autoprune.training.settings import TrainSettings

__all__ = ["EpochResult", "Trainer", "copied", "count_batches", "require_finite", "train"]


@dataclass(frozen=True)
class EpochResult:
    """What one epoch came to.

    Attributes:
        epoch: Epochs done, from 1.
        loss: Mean training loss over the epoch's steps.
        lr: Learning rate of its last step.
        seconds: Time that it took.
    """

    epoch: int
    loss: float
    lr: float
    seconds: float


class Trainer:
    """Trains a model in place; `run` as often as liked, `state_dict` between runs.

    Same model, batches, settings and number of threads give the same weights, bit for bit on the CPU. Where the batches
    have `set_epoch`, as `autoprune.data`'s do, or draw from torch's global generator, as a DataLoader does, an
    interrupted training that is loaded again ends as the whole one. With `settings.ema` the model is given the average
    of its weights when the last epoch has ended.

    A training that starts at step k goes on as one that has done k steps: with the schedule's rate and the batches that
    come then. Only the optimiser is fresh, and what dropout draws in the epoch that is begun in its middle.

    Args:
        model: Changed in place. Parameters that need no gradient stay as they are.
        batches: What it learns from, iterated once an epoch: (images, labels), or what `loss` understands.
        settings: Rates, epochs, precision.
        teacher: Its outputs on the same batch are learned from too; evaluated in eval mode, left unchanged.
        loss: Own loss of (model output, batch) in place of cross-entropy; the batch is on the model's device.
        constraint: What every step must keep; weights and momentum are projected after each.
        reader: Which parts of a batch are the inputs.
        features: Blocks of the teacher that the model's are drawn to; its adapters are trained along.
        start_step: Optimiser steps that count as done, up to all.
        keep_at: Step after which the weights are kept in `kept`; None keeps none.

    Attributes:
        kept: The model's state as it was after `keep_at` steps; None before.
        ranks: This process's place among several that run the same training together; None of one alone.

    Raises:
        InputError: If there is nothing to train or no batch, or a step lies outside of the training.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[Any],
        settings: TrainSettings,
        *,
        teacher: nn.Module | None = None,
        loss: Loss | None = None,
        constraint: TrainingConstraint | None = None,
        reader: BatchReader = AS_IT_COMES,
        features: FeatureDistillation | None = None,
        start_step: int = 0,
        keep_at: int | None = None,
    ) -> None:
        self.model, self.batches, self.settings = model, batches, settings
        self.teacher, self.constraint = teacher, constraint
        self.device = device_of(model)
        self._network = UserCode(f"the network {path_of(model)}")
        self.adapters = nn.ParameterList() if features is None else features.adapters
        self.optimizer = make_optimizer(nn.ModuleList([model, self.adapters]), settings)
        self._steps_by = UserCode(f"the optimizer {path_of(self.optimizer)}")
        rates = [group.get("lr") for group in self.optimizer.param_groups]  # one of the user's own may have none
        self._peaks = [None if rate is None else float(rate) for rate in rates]
        self.layout = chosen_layout(self.device, settings.bf16, settings.channels_last)
        self.objective = Objective(
            model, settings, self.layout, teacher=teacher, loss=loss, reader=reader, features=features
        )
        self.average = WeightAverage(model, settings.ema) if settings.ema else None
        self._steps = count_batches(batches)
        if not self._steps:
            raise InputError("there is no training batch; lower --batch-size or give more images")
        for step in (start_step, keep_at or 0):
            if not 0 <= step <= self.steps:
                raise InputError(f"step {step} is none of a training of {self.steps} steps")
        self.epoch, self._skipped = divmod(start_step, self._steps)
        self.keep_at = keep_at
        self.ranks: Ranks | None = None
        self.kept: dict[str, Any] | None = copied(model.state_dict()) if keep_at == start_step else None

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.settings.epochs * self._steps

    def run(
        self,
        epochs: int | None = None,
        *,
        on_epoch: Callable[[EpochResult], None] | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> nn.Module:
        """Trains for so many more epochs, or to the end of the settings' epochs, whichever comes first.

        Args:
            epochs: None goes on to the end.
            on_epoch: Called after each epoch, with the model in the mode that it had before.
            on_step: Called after each step with its number in the epoch, from 1, and the steps of an epoch.

        Returns:
            The model.

        Raises:
            InputError: If the loss is no longer finite; the message says at which epoch and step.
        """
        self._project()
        last = self.settings.epochs if epochs is None else min(self.settings.epochs, self.epoch + epochs)
        while self.epoch < last:
            result = self._one_epoch(on_step)
            if on_epoch is not None:
                on_epoch(result)
        if self.average is not None and self.epoch == self.settings.epochs:
            self._take(self.average)
        return self.model

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next epoch depends on, as tensors and plain values; a copy."""
        # No generator's state: whatever is drawn in an epoch comes from the seed and the epoch's number.
        state = {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.average is not None:
            state["average"] = self.average.state_dict()
        if len(self.adapters):
            state["adapters"] = self.adapters.state_dict()
        if isinstance(self.constraint, SteppingConstraint):
            state["constraint"] = self.constraint.state_dict()
        if self.kept is not None:
            state["kept"] = self.kept
        taken: dict[str, Any] = copied(state)
        return taken

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up the training where `state_dict` was taken.

        Raises:
            InputError: If the state belongs to another model.
        """
        try:
            given = copied(dict(state))
            self.model.load_state_dict(given["model"])
            self.optimizer.load_state_dict(given["optimizer"])
            if len(self.adapters):
                self.adapters.load_state_dict(given["adapters"])
            if self.average is not None:
                self.average.load_state_dict(given["average"])
            if isinstance(self.constraint, SteppingConstraint):
                self.constraint.load_state_dict(given["constraint"])
            self.kept = given.get("kept")
            self.epoch, self._skipped = int(given["epoch"]), 0
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"the training state does not fit this model: {first_line(error)}") from error

    def _one_epoch(self, on_step: Callable[[int, int], None] | None = None) -> EpochResult:
        start = time.perf_counter()
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(self.epoch)
        exact = torch.float32 if self.device.type == "mps" else torch.float64  # Metal has no float64
        total, steps, rate = torch.zeros((), device=self.device, dtype=exact), 0, 0.0
        # Dropout can draw from torch's global generators only: they get a stream of this epoch's own.
        own_stream = seeded(stream(self.settings.seed, self.epoch))
        mixup = Mixup(self.settings.mixup, stream(self.settings.seed, self.epoch)) if self.settings.mixup else None
        teachers = () if self.teacher is None else (self.teacher,)
        with in_mode(self.model, train=True), in_mode(*teachers), own_stream, in_layout(self.layout):
            for steps, batch in enumerate(self.batches, start=1):
                if steps <= self._skipped:
                    continue
                done = self.epoch * self._steps + steps
                share = share_of_peak(self.settings, done - 1, self._steps)
                rate = share * (self._peaks[0] or 0.0)
                loss = self._step(batch, share, mixup)
                require_finite(loss, self.epoch + 1, steps, self._peaks[0])
                total += loss
                if done == self.keep_at:
                    self.kept = copied(self.model.state_dict())
                if on_step is not None:
                    on_step(steps, self._steps)
        if not steps:
            raise InputError("the training batches can be iterated only once; give a loader, not a generator")
        if self.ranks is not None:
            self.ranks.average_statistics(self.model)
        learned = max(1, steps - self._skipped)
        self.epoch, self._skipped = self.epoch + 1, 0
        return EpochResult(self.epoch, float(total) / learned, rate, time.perf_counter() - start)

    def _step(self, batch: Any, share: float, mixup: Mixup | None) -> Tensor:
        """One optimiser step at a share of the peak rate; the loss before it, a scalar without a gradient."""
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            if peak is not None:
                group["lr"] = share * peak
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(moved(batch, self.device), mixup)
        if torch.isfinite(loss):  # a bad step must not reach the weights
            if isinstance(self.constraint, SteppingConstraint):
                self.constraint.before_step(self.model)
            if self.settings.clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
            with self._steps_by:
                self.optimizer.step()
            self._project()
            if self.average is not None:
                self.average.update(self.model)
        return loss

    def _backward(self, batch: Any, mixup: Mixup | None) -> Tensor:
        """The gradients of a batch, and its loss, over all processes of the training; without a gradient."""
        ranks = self.ranks
        if ranks is None:
            return self._backward_alone(batch, mixup, 1.0)
        part = ranks.part(batch, self.objective.images(batch))
        own = torch.zeros(()) if part.batch is None else self._backward_alone(part.batch, mixup, part.share)
        learned = [each for group in self.optimizer.param_groups for each in group["params"]]
        return ranks.sum(learned, own)

    def _backward_alone(self, batch: Any, mixup: Mixup | None, share: float) -> Tensor:
        loss = self.objective.of(batch, mixup.draw(self.objective.images(batch)) if mixup else None)
        loss = loss if share == 1.0 else share * loss
        if torch.isfinite(loss):
            with self._network:
                loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _project(self) -> None:
        if self.constraint is not None:
            self.constraint.project(self.model, self.optimizer)

    def _take(self, average: WeightAverage) -> None:
        """Give the model the average of its weights; what the constraint allows need not hold of an average."""
        average.write_to(self.model)
        if isinstance(self.constraint, SteppingConstraint):
            self.constraint.average(self.model)
        elif self.constraint is not None:  # by an optimiser that remembers nothing: the momentum is of other weights
            self.constraint.project(self.model, torch.optim.SGD(self.model.parameters(), lr=0.0))


def require_finite(loss: Tensor, epoch: int, step: int, peak: float | None) -> None:
    """Stop a training whose loss is no longer a number.

    Args:
        loss: A scalar.
        epoch: Of the training, from 1.
        step: Of the epoch, from 1.
        peak: The learning rate at its peak.

    Raises:
        InputError: If it is not finite.
    """
    if not bool(torch.isfinite(loss)):
        raise InputError(
            f"the training loss is {float(loss)} in epoch {epoch}, step {step}; lower the learning rate (--lr; its"
            f" peak was {peak} here), and check the images for values that are not finite"
        )


def count_batches(batches: Iterable[Any]) -> int:
    """Batches an epoch; read through once where they do not know it (a DataLoader of an IterableDataset)."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return sum(1 for _ in batches)


def copied(value: Any) -> Any:
    """A state in which nothing is shared with what it was taken from."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def train(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    settings: TrainSettings,
    teacher: nn.Module | None = None,
    loss: Loss | None = None,
    on_epoch: Callable[[EpochResult], None] | None = None,
) -> nn.Module:
    """Trains a model in place and returns it: `Trainer` from the first epoch to the last.

    Raises:
        InputError: As `Trainer` and `Trainer.run` do.
    """
    return Trainer(model, batches, settings, teacher=teacher, loss=loss).run(on_epoch=on_epoch)
