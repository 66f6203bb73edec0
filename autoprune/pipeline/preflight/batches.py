"""Do the batches fit the network, and the labels its outputs?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sized
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError, first_line
from autoprune.evaluation import accuracy
from autoprune.foundations.examples import input_tensors, labels_in
from autoprune.foundations.user_code import UserBatches, UserCode, path_of
from autoprune.models import device_of, in_mode, output_of
from autoprune.models.inputs.example import Example, as_example
from autoprune.models.outputs import moved
from autoprune.pipeline.preflight.base import Check, Subject
from autoprune.pipeline.preflight.reading import FEW, SPLITS, randomness_kept

__all__ = ["Forward", "FurtherBatches", "Labels", "SmallestBatch"]

_READING = 0.5  # seconds in which a split is read on


class Forward(Check):
    """The network takes the first batch of every split, whose images are numbers."""

    what = "the network on a batch of each split"

    def run(self, subject: Subject) -> None:
        """Run the copy in evaluation mode, on a few images of a large batch: the score sees them all."""
        example = as_example(subject.task.example)
        for part in SPLITS:
            batch = moved(subject.batches[part], device_of(subject.model))
            try:
                inputs = subject.task.reader.call(subject.model, batch)
            except InputError as error:
                raise InputError(f"the first {part} batch: {error}") from error
            for each in inputs.tensors():
                _refuse_no_numbers(f"the first {part} batch", each)
            _refuse_another_form(part, inputs, example)
            few = inputs.first(FEW)
            if few.batch < inputs.batch and _fault(subject.model, few, train=False) is None:
                continue
            unlike = "" if _sizes(inputs) == _sizes(example) else f", where the example has {example.words}"
            what = f"the network {path_of(subject.task.model)}, on a {part} batch of shape {inputs.words}{unlike},"
            with in_mode(subject.model), torch.no_grad(), randomness_kept(), UserCode(what):
                output_of(inputs.run(subject.model))


def _refuse_another_form(part: str, inputs: Example, example: Example) -> None:
    """Inputs of another rank, or whole numbers in place of fractions, are of another kind than those of training.

    Sizes may differ: texts have their own length, and many networks take images of any size.
    """
    for own, other in zip(inputs.tensors(), example.tensors(), strict=False):
        if own.ndim != other.ndim or own.is_floating_point() != other.is_floating_point():
            raise InputError(
                f"the first {part} batch has inputs of shape {inputs.words}, and the example, the first of the train"
                f" split unless one was given, {example.words}; all splits must be of one kind"
            )


def _sizes(inputs: Example) -> list[torch.Size]:
    return [tensor.shape[1:] for tensor in inputs.tensors()]


def _refuse_no_numbers(which: str, inputs: Tensor) -> None:
    if not inputs.numel():
        raise InputError(f"{which} is empty: its shape is {list(inputs.shape)}")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        raise InputError(f"{which} has images with values that are not finite (NaN or infinity)")


class Labels(Check):
    """Labels that are compared with the network's outputs are class numbers that it has."""

    what = "labels against outputs"

    def concerns(self, subject: Subject) -> bool:
        """An own score may mean anything by a batch's second item."""
        return subject.task.evaluate is accuracy

    def run(self, subject: Subject) -> None:
        """All labels and images of the search split, which is in memory, and the labels of the first test batch."""
        with in_mode(subject.model), torch.no_grad(), randomness_kept():
            home = device_of(subject.model)
            example = as_example(subject.task.example).map(lambda tensor: tensor.to(home))
            with UserCode(f"the network {path_of(subject.task.model)}"):
                outputs = output_of(example.run(subject.model)).shape[1]
        search, others = subject.task.search_parts
        for batch in (*search, *others):
            for each in subject.task.reader.call(subject.model, batch).tensors():
                _refuse_no_numbers("a search batch", each)
        for part, batch in [*(("search", each) for each in (*search, *others)), ("test", subject.batches["test"])]:
            _refuse_labels_beyond(part, batch, outputs)


class FurtherBatches(Check):
    """What comes behind the first batches of the train and the test split can be read, as far as a moment allows."""

    what = "further batches"

    def run(self, subject: Subject) -> None:
        """Read on for half a second each; a stream would be used up by it, and the search split is in memory."""
        reads = subject.task.reader
        for part in ("train", "test"):
            batches = getattr(subject.task.data, part)
            if isinstance(batches, UserBatches) and not batches.can_be_read_again:
                continue
            end = time.monotonic() + _READING
            with randomness_kept(batches):
                for batch in batches:
                    for each in reads.call(subject.model, batch).tensors():
                        _refuse_no_numbers(f"a {part} batch", each)
                    if time.monotonic() > end:
                        break


def _refuse_labels_beyond(part: str, batch: Any, outputs: int) -> None:
    labels = labels_in(batch)
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.ndim != 1:
        kind = f"{labels.dtype} of shape {list(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise InputError(
            f"a {part} batch has no class numbers as second items or under labels, (images,) integers each, but {kind};"
            " give a score of your own (evaluate)"
        )
    wrong = labels[(labels < 0) | (labels >= outputs)]
    if len(wrong):
        raise InputError(f"a {part} label is {int(wrong[0])}, but the model has {outputs} outputs, 0 to {outputs - 1}")


class SmallestBatch(Check):
    """No training batch is too small for the network: BatchNorm cannot learn from one value a channel."""

    what = "the last training batch"

    def concerns(self, subject: Subject) -> bool:
        """Only what is trained."""
        return subject.trains

    def run(self, subject: Subject) -> None:
        """Where the last batch is one image, run one image in training mode, and two."""
        if _smallest(subject.task.data.train) != 1:
            return
        batch = moved(subject.batches["train"], device_of(subject.model))
        inputs = subject.task.reader.call(subject.model, batch)
        error = _fault(subject.model, inputs.with_batch(1), train=True)
        if error is not None and _fault(subject.model, inputs.with_batch(2), train=True) is None:
            raise InputError(
                "the last batch of the train loader holds one image, which the network cannot be trained on"
                f" ({first_line(error)}); give drop_last=True, or another batch size"
            ) from error


def _fault(model: nn.Module, inputs: Example, *, train: bool) -> Exception | None:
    with in_mode(model, train=train), torch.no_grad(), randomness_kept():
        try:
            inputs.run(model)
        except Exception as error:  # noqa: BLE001 - a user's forward may raise anything
            return error
    return None


def _smallest(train: Iterable[Any]) -> int | None:
    """Images in the smallest training batch, where a loader or a list tells without being read."""
    if isinstance(train, list | tuple):
        return min((len(first) for batch in train for first in input_tensors(batch)[:1]), default=None)
    images, size = getattr(train, "dataset", None), getattr(train, "batch_size", None)
    if not isinstance(images, Sized) or not isinstance(size, int) or getattr(train, "drop_last", False):
        return None
    return len(images) % size or size
