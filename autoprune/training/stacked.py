"""Several small networks of one architecture trained as one: their weights lie in one tensor, a leading dimension more.

A step of a small network is mostly overhead: of Python, of kernels that have hardly anything to do. Stacked, N networks
have the overhead of one. Nothing is shared between them: each has images, a mask and a loss of its own, and ends with
the weights that `Trainer` would have given it, but for rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from autoprune.errors import InputError, first_line
from autoprune.foundations.seeding import seeded, stream
from autoprune.models.copying import duplicate
from autoprune.models.modes import in_mode
from autoprune.models.outputs import moved
from autoprune.models.precision import autocast, device_of
from autoprune.training.constraint import Masks
from autoprune.training.epochs import FirstBatches, InEpochs
from autoprune.training.optimizers import OPTIMIZERS, make_optimizer
from autoprune.training.schedule import share_of_peak
from autoprune.training.settings import TrainSettings
from autoprune.training.trainer import copied, require_finite

__all__ = ["Member", "StackedTrainer", "why_not_stacked"]


@dataclass(frozen=True, eq=False)
class Member:
    """One of the networks that are trained as one.

    Attributes:
        network: Its parameters become views of the stack, and so change with it.
        masks: Name of a weight -> bool: which of its elements are trained.
        batches: (images, labels), what it alone learns from.
    """

    network: nn.Module
    masks: Mapping[str, Tensor]
    batches: InEpochs | FirstBatches


class StackedTrainer:
    """Trains networks in place, from the labels alone; `run` as often as liked, `state_dict` between runs.

    The face is `Trainer`'s, for what can be stacked: see `why_not_stacked`.

    Args:
        members: Networks of one architecture, with masks of the same weights and batches of one size.
        settings: Of all of them.
        start_step: Optimiser steps that count as done.
        keep_at: Step after which the weights are kept in `kept`; None keeps none.

    Attributes:
        epoch: Epochs done.
        kept: Of every network its state as it was after `keep_at` steps; None before.
    """

    def __init__(
        self,
        members: Sequence[Member],
        settings: TrainSettings,
        *,
        start_step: int = 0,
        keep_at: int | None = None,
    ) -> None:
        self.members, self.settings, self.keep_at = tuple(members), settings, keep_at
        self.device = device_of(members[0].network)
        self._holder = _stacked([member.network for member in members])
        self.optimizer = make_optimizer(self._holder, settings, leading=1)
        self._peaks = [float(group["lr"]) for group in self.optimizer.param_groups]
        names = members[0].masks
        self._masks = Masks({name: torch.stack([member.masks[name] for member in members]) for name in names})
        self._steps = len(members[0].batches)
        self.epoch, self._skipped = divmod(start_step, self._steps)
        self.kept = self._states() if keep_at == start_step else None

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.settings.epochs * self._steps

    def run(self, epochs: int) -> None:
        """Trains for so many more epochs, or to the end of the settings' epochs.

        Raises:
            InputError: If a loss is no longer finite.
        """
        self._masks.project(self._holder, self.optimizer)
        for _ in range(min(epochs, self.settings.epochs - self.epoch)):
            self._one_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next epoch depends on; a copy."""
        weights = dict(self._holder.named_parameters())
        state = {"epoch": self.epoch, "weights": weights, "optimizer": self.optimizer.state_dict(), "kept": self.kept}
        taken: dict[str, Any] = copied(state)
        return taken

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up the training where `state_dict` was taken."""
        with torch.no_grad():
            for name, parameter in self._holder.named_parameters():
                parameter.copy_(state["weights"][name])
        self.optimizer.load_state_dict(copied(state["optimizer"]))
        self.epoch, self._skipped, self.kept = int(state["epoch"]), 0, state["kept"]

    def _states(self) -> list[dict[str, Tensor]]:
        return [
            {name: tensor.detach().clone() for name, tensor in member.network.state_dict().items()}
            for member in self.members
        ]

    def _one_epoch(self) -> None:
        distinct = list(dict.fromkeys(member.batches for member in self.members))
        opened = [_opened(batches, self.epoch) for batches in distinct]
        places = [distinct.index(member.batches) for member in self.members]
        with in_mode(self._holder, train=True), seeded(stream(self.settings.seed, self.epoch)):
            for step, read in enumerate(zip(*opened, strict=True), start=1):
                if step > self._skipped:
                    images, labels = (torch.stack([read[place][part] for place in places]) for part in (0, 1))
                    self._step(moved(images, self.device), moved(labels, self.device), step)
        self.epoch, self._skipped = self.epoch + 1, 0

    def _step(self, images: Tensor, labels: Tensor, step: int) -> None:
        """One optimiser step of all networks, on images (networks, batch, ...) and labels (networks, batch)."""
        done = self.epoch * self._steps + step
        share = share_of_peak(self.settings, done - 1, self._steps)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = share * peak
        losses = self._losses(images, labels)
        require_finite(losses.detach().sum(), self.epoch + 1, step, self._peaks[0])
        self.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()  # type: ignore[no-untyped-call]  # none depends on another's weights
        self._masks.before_step(self._holder)
        if self.settings.clip is not None:
            _clip(list(self._holder.parameters()), self.settings.clip)
        self.optimizer.step()
        self._masks.project(self._holder, self.optimizer)
        if done == self.keep_at:
            self.kept = self._states()

    def _losses(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy of every network, (networks,)."""
        weights = dict(self._holder.named_parameters())
        with autocast(self.device, self.settings.bf16):
            logits = vmap(lambda own, x: functional_call(self._holder, own, (x,)))(weights, images)
        each = F.cross_entropy(
            logits.flatten(0, 1).float(),
            labels.flatten(),
            label_smoothing=self.settings.label_smoothing,
            reduction="none",
        )
        return each.view(labels.shape).mean(1)


def why_not_stacked(network: nn.Module, example: Tensor, settings: TrainSettings) -> str | None:
    """Why networks of this architecture cannot be trained as one, in a few words; None if they can.

    Args:
        network: One of them, left as it is.
        example: An input, (1, ...).
        settings: Of the training.
    """
    if settings.optimizer not in OPTIMIZERS:
        return "the optimizer is one of your own"
    if settings.ema or settings.mixup or settings.slim:
        return "the recipe averages weights, blends images, or pulls on scales"
    if any(True for _ in network.buffers()):
        return "it keeps statistics of what it has seen (BatchNorm)"
    if not all(p.requires_grad and p.is_floating_point() for p in network.parameters()):
        return "some of its weights are not trained"
    if len({id(p) for p in network.parameters()}) < sum(1 for _ in network.named_parameters(remove_duplicate=False)):
        return "some of its layers share weights"
    try:
        _tried(network, example)
    except Exception as error:  # noqa: BLE001  # whatever the network's own code does under vmap
        return f"torch.func.vmap cannot run it: {first_line(error):.120}"
    return None


def _tried(network: nn.Module, example: Tensor) -> None:
    holder = _stacked([duplicate(network) for _ in range(2)])
    images = torch.stack([example.repeat(2, *[1] * (example.ndim - 1))] * 2)
    weights = dict(holder.named_parameters())
    with in_mode(holder, train=True), seeded(0):
        logits = vmap(lambda own, x: functional_call(holder, own, (x,)))(weights, images)
    if not isinstance(logits, Tensor) or logits.ndim != 3:
        raise InputError("its output is no tensor (images, classes)")


def _stacked(networks: Sequence[nn.Module]) -> nn.Module:
    """A copy of the first network whose parameters are those of all, stacked; each network's become views of them."""
    holder = duplicate(networks[0])
    for name in [name for name, _ in holder.named_parameters()]:
        parameters = [network.get_parameter(name) for network in networks]
        together = nn.Parameter(torch.stack([parameter.detach() for parameter in parameters]))
        for parameter, own in zip(parameters, together.detach().unbind(), strict=True):
            parameter.data = own
        parent, _, last = name.rpartition(".")
        setattr(holder.get_submodule(parent), last, together)
    return holder


def _opened(batches: InEpochs | FirstBatches, epoch: int) -> Iterator[Any]:
    """An epoch's batches, the first already read: others may read the same loader, which is seeded anew for them."""
    batches.set_epoch(epoch)
    rest = iter(batches)
    return itertools.chain([next(rest)], rest)


def _clip(parameters: Sequence[nn.Parameter], norm: float) -> None:
    """Scale the gradients of every network, (networks, ...), whose norm is above the limit, as `clip_grad_norm_`."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    factors = (norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))
