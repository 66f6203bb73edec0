"""Heads in closed form: ridge regression on pooled values, so that a candidate's heads take no training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.batches import labels_of
from autoprune.dynamic_networks.thresholds import Answers
from autoprune.early_exit.fit import answers_of
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.places import Place
from autoprune.models import output_of
from autoprune.models.inputs.reader import BatchReader
from autoprune.pipeline.jobs.dynamic.joint.hooks import values_at

__all__ = ["Pooled", "pooled", "ridge_answers"]

_SCALE = 10.0  # of one-hot targets: what regression gives is read as logits
_RIDGE = 1e-2  # of the mean square of an input


@dataclass(frozen=True, eq=False)
class Pooled:
    """What heads read of some samples.

    Attributes:
        inputs: Of each place, float32 (N, inputs of its head).
        logits: The network's, (N, classes).
        labels: int64 (N,).
    """

    inputs: tuple[Tensor, ...]
    logits: Tensor
    labels: Tensor


def pooled(model: nn.Module, places: Sequence[Place], batches: Iterable[Any], reader: BatchReader) -> Pooled:
    """Run samples through a network of any widths.

    Args:
        model: In evaluation mode.
        places: Where heads would be; their shapes need not be the dense network's.
        batches: With labels.
        reader: Which parts of a batch are the inputs.
    """
    rows: list[list[Tensor]] = []
    with torch.no_grad(), values_at(model, places) as found:
        for batch in batches:
            logits = output_of(reader.call(model, batch).run(model))
            reduced = [_head(found[number], logits).reduced(found[number]) for number in range(len(places))]
            rows.append([*reduced, logits, labels_of(logits, batch)])
    *inputs, logits, labels = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return Pooled(tuple(inputs), logits, labels)


def _head(value: Tensor, logits: Tensor) -> ExitHead:
    return ExitHead(value.shape[1:], logits.shape[1])


def ridge_answers(train: Pooled, search: Pooled) -> Answers:
    """What heads fitted on some samples answer to others, and the network itself."""
    classes = train.logits.shape[1]
    targets = _SCALE * torch.nn.functional.one_hot(train.labels, classes).double()
    found = [_fitted(x, targets, y).float() for x, y in zip(train.inputs, search.inputs, strict=True)]
    logits = torch.stack([*found, search.logits])
    bare = [ExitHead((1,), classes) for _ in found]  # without scorers, which a candidate does not train
    return answers_of(logits, search.labels, bare).only(("margin",))


def _fitted(inputs: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    """What the ridge regression of targets on standardised inputs gives for other inputs."""
    mean, scale = inputs.mean(0), inputs.std(0, unbiased=False).clamp_min(1e-6)
    x, y = ((each - mean) / scale for each in (inputs.double(), others.double()))
    centre = targets.mean(0)
    gram = x.T @ x + _RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    found: Tensor = y @ torch.linalg.solve(gram, x.T @ (targets - centre)) + centre
    return found
