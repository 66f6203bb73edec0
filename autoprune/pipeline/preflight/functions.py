"""Do the user's score and loss work?"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.errors import InputError
from autoprune.evaluation import accuracy
from autoprune.foundations.examples import labels_in
from autoprune.foundations.references import is_reference
from autoprune.foundations.user_code import UserCode, path_of
from autoprune.models import device_of, in_mode, output_of
from autoprune.models.copying import isolated
from autoprune.models.layout import arranged, chosen_layout, in_layout
from autoprune.models.outputs import in_float32, moved, with_changed_tensors
from autoprune.models.own_loss import own_loss
from autoprune.models.precision import autocast
from autoprune.pipeline.preflight.base import Check, Subject
from autoprune.pipeline.preflight.reading import FEW, randomness_kept
from autoprune.training import Trainer
from autoprune.training.losses import cross_entropy
from autoprune.training.recipe import Recipe

__all__ = ["LossWithGradient", "OwnLoop", "OwnOptimizer", "Score"]


class Score(Check):
    """The score is a finite number on the search and on the test split."""

    what = "the score"

    def run(self, subject: Subject) -> None:
        """On little; where that fails, which may be for its images, on the whole split as the job will."""
        before = {name: tensor.clone() for name, tensor in _kept(subject.model)}
        for part in ("search", "test"):
            with randomness_kept(getattr(subject.task.data, part)):
                try:
                    subject.task.score(subject.model, [self._few(subject, part)])
                except InputError:
                    subject.task.score(subject.model, self._more(subject, part))
        changed = [name for name, tensor in _kept(subject.model) if not torch.equal(tensor, before[name])]
        if changed:
            raise InputError(
                f"evaluate {path_of(subject.task.evaluate)} changes the network that it scores, {changed[0]} first; it"
                " must leave weights and BatchNorm's statistics as they are (model.eval(), or a copy)"
            )

    def _few(self, subject: Subject, part: str) -> Any:
        """The first batch; for the accuracy, which asks nothing of the others, a few of its images."""
        batch = subject.batches[part]
        if subject.task.evaluate is not accuracy:
            return batch
        labels = labels_in(batch)
        images = 0 if labels is None else len(labels)
        return with_changed_tensors(batch, lambda each: each[:FEW] if each.ndim and len(each) == images else each)

    def _more(self, subject: Subject, part: str) -> Any:
        """The whole first batch for the accuracy, the whole split for a score of the user's own."""
        if subject.task.evaluate is accuracy:
            return [subject.batches[part]]
        return subject.task.search_parts[0] if part == "search" else subject.task.data.test


class OwnOptimizer(Check):
    """The user's optimiser can be made, and takes a step."""

    what = "the optimizer"

    def concerns(self, subject: Subject) -> bool:
        """Only one of the user's own."""
        own = subject.experiment.optimizer is not None and is_reference(subject.experiment.optimizer)
        return own and subject.trains

    def run(self, subject: Subject) -> None:
        """Train a copy for one step."""
        task = subject.task
        settings = Recipe.chosen(subject.experiment, attention=False).plain(1, subject.experiment.seed)
        with randomness_kept():
            batches = [subject.batches["train"]]
            Trainer(isolated(task.model), batches, settings, loss=task.loss, reader=task.reader).run(1)


class OwnLoop(Check):
    """The user's training loop takes what it will be given; whether it trains is seen after the search only."""

    what = "the form of the training loop"

    def concerns(self, subject: Subject) -> bool:
        """Only where one will be called."""
        return subject.task.finetune is not None and subject.experiment.finetune_epochs != 0

    def run(self, subject: Subject) -> None:
        """Compare its parameters; a function that does not tell them is called when it is its turn."""
        loop = subject.task.finetune
        assert loop is not None  # `concerns` was asked
        try:
            inspect.signature(loop).bind(subject.model, None, 1)
        except ValueError:
            return
        except TypeError as error:
            raise InputError(
                f"finetune {path_of(loop)} is called with (model, constraint, epochs) and does not take them: {error}"
            ) from error


class LossWithGradient(Check):
    """The loss of a training batch is a finite number, and its backward pass reaches the weights."""

    what = "the loss, forward and backward"

    def concerns(self, subject: Subject) -> bool:
        """Only where something is trained, and something can be."""
        return subject.trains and any(parameter.requires_grad for parameter in subject.task.model.parameters())

    def run(self, subject: Subject) -> None:
        """As a training step does it, without the step."""
        model, device = subject.model, device_of(subject.model)
        batch, layout = moved(subject.batches["train"], device), chosen_layout(device, None)
        network = UserCode(f"the network {path_of(subject.task.model)}, in training mode,")
        inputs = subject.task.reader.call(model, batch).map(lambda tensor: arranged(tensor, layout))
        with in_mode(model, train=True), randomness_kept(), in_layout(layout), torch.enable_grad():
            with autocast(device, None), network:
                output = inputs.run(model)
            if subject.task.loss is None:
                loss = cross_entropy(output_of(output), batch)
            else:
                loss = own_loss(subject.task.loss, in_float32(output), batch)
            if not bool(torch.isfinite(loss)):
                whose = "is finite" if _finite(output) else "has values that are NaN or infinite"
                raise InputError(
                    f"the loss of the first training batch is {float(loss.detach())}, before any training; the output"
                    f" of the network {whose}"
                )
            with network:
                loss.backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)


def _kept(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What a score must leave alone: parameters, and what BatchNorms know; a network may count its calls."""
    yield from model.named_parameters()
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            yield from ((f"{name}.{each}", buffer) for each, buffer in module.named_buffers())


def _finite(output: Any) -> bool:
    """Whether every tensor of an output is finite."""
    found: list[bool] = []

    def seen(tensor: Tensor) -> Tensor:
        found.append(bool(torch.isfinite(tensor).all()))
        return tensor

    with_changed_tensors(output, seen)
    return all(found)
