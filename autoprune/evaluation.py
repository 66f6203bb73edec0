"""Scoring a network on a split."""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.examples import labels_in
from autoprune.foundations.user_code import UserBatches, UserCode, as_given, path_of, wrong_form
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.models.layout import chosen_layout, computing, in_layout
from autoprune.models.modes import in_mode
from autoprune.models.outputs import moved, output_of
from autoprune.models.precision import device_of

__all__ = ["Evaluate", "Judge", "accuracy", "output_of", "right_answers", "scored"]

Evaluate = Callable[[nn.Module, Iterable[Any]], float]
"""An own score of (model, batches) in place of `accuracy`; higher is better."""


@dataclass(frozen=True)
class Judge:
    """How networks are scored: all that a process which scores candidates needs of a task.

    Attributes:
        evaluate: Score of (model, batches).
        reader: Which parts of a batch are the network's inputs.
    """

    evaluate: Evaluate
    reader: BatchReader

    def score(self, model: nn.Module, batches: Iterable[Any]) -> float:
        """Score of a network in evaluation mode; every module's own mode is put back."""
        with in_mode(model), in_layout(chosen_layout(device_of(model), bf16=None)):  # a user's own score may train
            if self.evaluate is accuracy:
                return accuracy(model, batches, reader=self.reader)
            return scored(self.evaluate, model, batches)

    def right_answers(self, model: nn.Module, batches: Iterable[Any]) -> Tensor:
        """Which images a network classifies as `score` counts them where that is `accuracy`, bool (images,)."""
        with in_mode(model), in_layout(chosen_layout(device_of(model), bf16=None)):
            return right_answers(model, batches, reader=self.reader)


def accuracy(
    model: nn.Module, batches: Iterable[Any], *, bf16: bool | None = None, reader: BatchReader = AS_IT_COMES
) -> float:
    """Top-1 accuracy: the share of images whose largest output is the one of their label.

    Args:
        model: Evaluated in eval mode without gradients; every module's own mode is put back.
        batches: (images, labels int64 (N,)) each, or mappings with `labels`.
        bf16: Compute in bfloat16; None where the processor has instructions for it. Near ties may fall the other
            way than in float32, so a figure that is reported wants False.
        reader: Which parts of a batch are the inputs.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: If there are no batches or no labels, or the outputs are not one row of scores an image.
    """
    right = right_answers(model, batches, bf16=bf16, reader=reader)
    return int(right.sum()) / len(right)


def right_answers(
    model: nn.Module, batches: Iterable[Any], *, bf16: bool | None = None, reader: BatchReader = AS_IT_COMES
) -> Tensor:
    """Whether the largest output is the one of the label, bool (images,), on the CPU; arguments as of `accuracy`.

    Raises:
        InputError: If there are no batches or no labels, or the outputs are not one row of scores an image.
    """
    device = device_of(model)
    network = UserCode(f"the network {path_of(model)}")
    right: list[Tensor] = []
    # Not inference_mode: what a loader keeps of its batches must still be good for training.
    with in_mode(model), torch.no_grad(), computing(device, bf16):
        for batch in batches:
            batch = moved(batch, device)
            labels, inputs = _labels_of(batch), reader.call(model, batch)
            with network:
                output = inputs.run(model)
            scores = output_of(output)
            if scores.ndim != 2 or len(scores) != len(labels):
                raise InputError(
                    f"the model gives outputs of shape {tuple(scores.shape)} for {len(labels)} labels; "
                    "accuracy needs (images, classes): give an evaluate function of your own"
                )
            _refuse_labels_beyond(labels, scores)
            if not bool(torch.isfinite(scores).all()):  # of a candidate that overflows, unless the images are the cause
                _refuse_images_that_are_none(inputs.tensors(), batches)
            right.append(scores.argmax(1) == labels)
    if not sum(map(len, right)):
        raise InputError("there are no images to score the model on; the loader is empty, or was used up")
    return torch.cat(right).cpu()


def _refuse_labels_beyond(labels: Tensor, scores: Tensor) -> None:
    """No network can be right about a class that it has no output for: such labels would count as its mistakes."""
    wrong = labels[(labels < 0) | (labels >= scores.shape[1])]
    if len(wrong):
        raise InputError(f"a label is {int(wrong[0])} but the model has only {scores.shape[1]} outputs")


def _refuse_images_that_are_none(inputs: Iterable[Tensor], batches: Iterable[Any]) -> None:
    if not all(bool(torch.isfinite(each).all()) for each in inputs if each.is_floating_point()):
        which = f"a batch of {batches.what}" if isinstance(batches, UserBatches) else "a batch"
        raise InputError(f"{which} has images with values that are not finite (NaN or infinity)")


def scored(evaluate: Evaluate, model: nn.Module, batches: Iterable[Any]) -> float:
    """What a user's own score says of a network.

    Args:
        evaluate: Given the loader as it was handed over.
        model: Left as it is, mode included, as far as the score does.
        batches: A split.

    Raises:
        InputError: If it raises, or returns anything but a finite number.
    """
    what = f"evaluate {path_of(evaluate)}"
    with in_mode(model), UserCode(what):
        value: Any = evaluate(model, as_given(batches))
    number = _number(value)
    if number is None or not math.isfinite(number):
        raise wrong_form(what, value if number is None else number, "a finite number")
    return number


def _number(value: Any) -> float | None:
    """A number, or a tensor or array of one, as a float; None of anything else."""
    if isinstance(value, Tensor) or hasattr(value, "item"):
        with contextlib.suppress(Exception):  # of several numbers, or of none
            value = value.item()
    try:
        return float(value) if isinstance(value, numbers.Real) else None
    except OverflowError:  # a whole number beyond the floats
        return math.inf


def _labels_of(batch: Any) -> Tensor:
    labels = labels_in(batch)
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.dtype.is_floating_point:
        raise InputError(
            "a batch has no class numbers as its second item or under labels; give (images, labels) batches, or an "
            "evaluate function of your own"
        )
    return labels
