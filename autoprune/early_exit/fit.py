"""Heads for every place at once, on values of the frozen network that are computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoprune.dynamic_networks.batches import labels_of
from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.stages import Stage, cut_at
from autoprune.dynamic_networks.thresholds import Answers
from autoprune.early_exit.confidence.base import Confidence, Seen
from autoprune.early_exit.confidence.registry import CONFIDENCES
from autoprune.early_exit.heads import ExitHead, HeadTraining, fit_head
from autoprune.early_exit.places import Place
from autoprune.errors import InputError
from autoprune.foundations.progress import Progress, no_progress
from autoprune.models.inputs.example import Example
from autoprune.models.inputs.reader import BatchReader

__all__ = ["Chain", "Cut", "answers_of", "answers_on", "fitted_heads"]


@dataclass(frozen=True, eq=False)
class Cut:
    """A network cut at every place that is offered, and how its batches are read.

    Attributes:
        model: The network, which says what of a batch is its input.
        flow: Its graph.
        places: In forward order.
        reader: Which parts of a batch are the inputs.
    """

    model: nn.Module
    flow: Flow
    places: Sequence[Place]
    reader: BatchReader

    def values(self, stages: Sequence[Stage], batch: Any) -> list[Tensor]:
        """The value at every place and the logits (N, classes), in forward order."""
        call = self.reader.call(self.model, batch)
        calls = _singles(call) if self.flow.one_by_one else [call]
        rows = [self._of_one_call(stages, each) for each in calls]
        return [torch.cat(parts) for parts in zip(*rows, strict=True)]

    def _of_one_call(self, stages: Sequence[Stage], call: Example) -> list[Tensor]:
        flat = self.flow.flat(call)
        found: list[Tensor] = []
        for stage in stages:
            found.append(stage(found[-1] if found else None, flat))
        return found


def _singles(call: Example) -> list[Example]:
    size = call.batch

    def row(number: int) -> Example:
        return call.map(lambda t: t[number : number + 1] if t.dim() and t.shape[0] == size else t)

    return [row(number) for number in range(size)]


def fitted_heads(
    cut: Cut, batches: Iterable[Any], training: HeadTraining, *, most: int = 20_000, progress: Progress = no_progress
) -> list[ExitHead]:
    """A trained head for every place; the network itself is not changed.

    Args:
        cut: The network.
        batches: What the heads learn from, with labels.
        training: How.
        most: Samples that are read at most.
        progress: Called with (samples read, at most, what is done).

    Raises:
        InputError: If there are no samples, or the network's output is not one row of scores a sample.
    """
    stages = cut_at(cut.flow, [place.node for place in cut.places])
    heads: list[ExitHead] = []
    kept: list[list[Tensor]] = []
    seen = 0
    with torch.no_grad():
        for batch in batches:
            *values, logits = cut.values(stages, batch)
            labels = labels_of(logits, batch)
            heads = heads or [ExitHead(place.shape, logits.shape[1], scored=True) for place in cut.places]
            inputs = [head.reduced(value) for head, value in zip(heads, values, strict=True)]
            kept.append([*inputs, logits, labels])
            seen += len(logits)
            progress(min(seen, most), most, "samples read for the heads")
            if seen >= most:
                break
    if not kept:
        raise InputError("there are no samples that the heads could learn from; the training loader is empty")
    *inputs, dense, known = (torch.cat(parts) for parts in zip(*kept, strict=True))
    for number, (head, values_) in enumerate(zip(heads, inputs, strict=True)):
        fit_head(head, values_, dense, known, training)
        progress(number + 1, len(heads), "heads trained")
    return [head.eval() for head in heads]


def answers_on(cut: Cut, heads: Sequence[ExitHead], batches: Iterable[Any]) -> Answers:
    """Confidence and correctness of every head, and of the network, on a split.

    Args:
        cut: The network.
        heads: One a place.
        batches: With labels; read once.

    Raises:
        InputError: If there are no samples.
    """
    stages = cut_at(cut.flow, [place.node for place in cut.places])
    logits: list[Tensor] = []
    classes: list[Tensor] = []
    with torch.no_grad():
        for batch in batches:
            *values, last = cut.values(stages, batch)
            classes.append(labels_of(last, batch))
            logits.append(torch.stack([*(head(value) for head, value in zip(heads, values, strict=True)), last]))
    if not logits:
        raise InputError("there are no samples to choose thresholds on; the loader is empty, or was used up")
    return answers_of(torch.cat(logits, 1), torch.cat(classes), heads)


def answers_of(logits: Tensor, labels: Tensor, heads: Sequence[ExitHead]) -> Answers:
    """What thresholds are chosen on, of logits that are known.

    Args:
        logits: Of every head, and last of the network, (places + 1, N, classes).
        labels: int64 (N,).
        heads: For the learned score, which is left out where one has none.
    """
    kinds = {
        name: kind
        for name, kind in CONFIDENCES.items()
        if heads
        if not kind.learns or all(head.scorer is not None for head in heads)
    }
    seen = [Seen(each, head.scorer) for each, head in zip(logits, heads, strict=False)]
    with torch.no_grad():
        alone = {
            name: torch.stack([kind.of(each) for each in seen]).double().cpu().numpy()
            for name, kind in kinds.items()
            if not kind.carries
        }
        chained = {name: Chain(kind, seen) for name, kind in kinds.items() if kind.carries}
    right = (logits.argmax(2) == labels).cpu().numpy()
    return Answers({**alone, **chained}, right, labels.cpu().numpy().astype(np.int64))


@dataclass(frozen=True, eq=False)
class Chain:
    """Confidences that depend on the exits before: they are known once the exits are.

    Attributes:
        kind: Of confidence.
        seen: At every place that is offered.
    """

    kind: Confidence
    seen: Sequence[Seen]

    def __getitem__(self, places: list[int]) -> NDArray[np.float64]:
        """Confidences where some places are exits, (exits, inputs)."""
        before: Tensor | None = None
        found: list[Tensor] = []
        for place in places:
            here = replace(self.seen[place], before=before)
            found.append(self.kind.of(here))
            before = self.kind.carried(here)
        return torch.stack(found).double().cpu().numpy()
