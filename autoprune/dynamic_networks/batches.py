"""Batches as a dynamic network is trained, judged and timed on them: their classes, and their inputs one at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from autoprune.dynamic_networks.flow import Flow
from autoprune.errors import InputError
from autoprune.foundations.examples import labels_in
from autoprune.models.inputs.example import Example

__all__ = ["labels_of", "shuffled_singles"]


def labels_of(logits: Tensor, batch: Any) -> Tensor:
    """The class numbers of a batch, int64 (N,), for which the network gave a row of scores each."""
    labels = labels_in(batch)
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.dtype.is_floating_point:
        raise InputError(
            "dynamic networks are for classification: a batch has no class numbers as second item or labels"
        )
    if logits.ndim != 2 or len(logits) != len(labels) or logits.shape[1] < 2:
        raise InputError(
            f"dynamic networks are for classification: the network gives outputs of shape {list(logits.shape)} for"
            f" {len(labels)} labels, not (samples, classes)"
        )
    return labels


def shuffled_singles(flow: Flow, calls: Iterable[Example], most: int, seed: int) -> list[list[Tensor]]:
    """Inputs one at a time, as a file of the network takes them, in an order of their own.

    Args:
        flow: The network.
        calls: Batches of inputs; read until there are enough.
        most: After so many inputs no further batch is read.
        seed: Of the order.
    """
    found: list[list[Tensor]] = []
    for call in calls:
        flat = [each for each in flow.flat(call) if isinstance(each, Tensor)]
        found += [[each[row : row + 1] for each in flat] for row in range(call.batch)]
        if len(found) >= most:
            break
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[number] for number in order]
