"""What changed images do to a network with exits whose thresholds stay: accuracy, and where inputs leave."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.dynamic_networks.drift import Drift
from autoprune.dynamic_networks.module import DynamicModule
from autoprune.foundations.examples import labels_in
from autoprune.models import output_of
from autoprune.models.inputs.reader import BatchReader

__all__ = ["SHIFTS", "images_in", "shifted"]

_MOST = 1000  # inputs
_TOGETHER = 32  # that a network is given at once


def _noise(images: Tensor) -> Tensor:
    """Normal noise of a tenth of the range of values."""
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return images + 0.1 * (images.max() - images.min()) * drawn.to(images)


def _blur(images: Tensor) -> Tensor:
    """The mean of 3x3 pixels."""
    return functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)


def _rotation(images: Tensor) -> Tensor:
    """Turned by 20 degrees; the border goes on."""
    angle = math.radians(20)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])
    grid = functional.affine_grid(turn.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid.to(images), padding_mode="border", align_corners=False)


SHIFTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "as they are": lambda images: images,
    "noise": _noise,
    "blur": _blur,
    "rotation": _rotation,
}
"""Name -> what it makes of images (N, C, H, W)."""


def shifted(
    network: DynamicModule,
    dense: nn.Module,
    images: Tensor | None,
    labels: Tensor,
    expected: Sequence[int] = (),
) -> list[dict[str, Any]]:
    """Accuracy with exits and without, and the shares of the paths, for every change; nothing for other than images.

    Args:
        network: With its exits; its counts stay as they are.
        dense: The network without.
        images: (N, C, H, W), as `images_in` reads them; None where the network takes something else.
        labels: The class of each, (N,).
        expected: Number of inputs on each path; each row then says whether the network would warn of its inputs.
    """
    counts = list(network.counts)
    found: list[dict[str, Any]] = []
    if images is None:
        return found
    with torch.no_grad():
        for name, change in SHIFTS.items():
            parts = torch.split(change(images), _TOGETHER)
            logits, taken = map(torch.cat, zip(*(network.answers(part) for part in parts), strict=True))
            whole = torch.cat([output_of(dense(part)) for part in parts])
            shares = torch.bincount(taken, minlength=len(counts)) / len(taken)
            row = {"accuracy": _share_right(logits, labels), "dense_accuracy": _share_right(whole, labels)}
            noticed = {"noticed": Drift(expected).add(taken.tolist())} if expected else {}
            found.append({"inputs": name, **row, "shares": shares.tolist(), **noticed})
    network.counts = counts
    return found


def images_in(dense: nn.Module, reader: BatchReader, batches: Iterable[Any]) -> tuple[Tensor | None, Tensor]:
    """The first images, at most a thousand, (N, C, H, W), and their classes; None where a network takes other inputs.

    Args:
        dense: The network, which says what of a batch is its input.
        reader: Which parts of a batch are the inputs.
        batches: With labels.
    """
    images, labels = [], []
    for batch in batches:
        call = reader.call(dense, batch)
        first = call.args[0] if len(call.args) == 1 and not call.kwargs else None
        known = labels_in(batch)
        if known is None or not isinstance(first, Tensor) or first.ndim != 4 or not first.is_floating_point():
            return None, torch.empty(0)
        images.append(first)
        labels.append(known)
        if sum(map(len, images)) >= _MOST:
            break
    return torch.cat(images)[:_MOST], torch.cat(labels)[:_MOST]


def _share_right(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels.to(logits.device)).float().mean())
