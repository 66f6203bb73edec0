"""The easiest and the hardest images of a dynamic network, small enough to lie in its report."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.dynamic_networks.module import DynamicModule

__all__ = ["extremes"]

_EACH = 6
_SIDE = 32  # pixels of the longer side


def extremes(
    network: DynamicModule, images: Tensor | None, labels: Tensor, paths: Sequence[str]
) -> list[dict[str, Any]]:
    """Images that take the shortest path and are surest there, and those that take the longest and are least sure.

    How sure an answer is is its largest probability, whatever kind of confidence the thresholds are of, so that all
    methods can be compared.

    Args:
        network: The dynamic network; its counts stay as they are.
        images: (N, C, H, W); None where the network takes something else.
        labels: The class of each, (N,).
        paths: Name of each path, the shortest first.

    Returns:
        For each image `which` (easiest or hardest), `input` (its number in the split), `class`, `answer`, `place`,
        `probability`, `shape` [height, width, channels] and `pixels`, base64 of bytes from its darkest number, 0, to
        its brightest, 255; nothing where the network takes something else than images of one or three channels.
    """
    if images is None or images.shape[1] not in (1, 3):
        return []
    counts = list(network.counts)
    with torch.no_grad():
        logits, taken = map(torch.cat, zip(*(network.answers(part) for part in torch.split(images, 32)), strict=True))
    network.counts = counts
    sure, answers = logits.double().softmax(1).max(1)
    numbers = range(len(images))
    easiest = sorted(numbers, key=lambda row: (int(taken[row]), -float(sure[row])))[:_EACH]
    hardest = sorted(numbers, key=lambda row: (-int(taken[row]), float(sure[row])))[:_EACH]
    return [
        {
            "which": which,
            "input": row,
            "class": int(labels[row]),
            "answer": int(answers[row]),
            "place": paths[int(taken[row])],
            "probability": float(sure[row]),
            **_thumbnail(images[row]),
        }
        for which, rows in (("easiest", easiest), ("hardest", hardest))
        for row in rows
    ]


def _thumbnail(image: Tensor) -> dict[str, Any]:
    """An image (C, H, W) as at most 32x32 pixels of bytes."""
    scale = _SIDE / max(image.shape[1:])
    small = image[None].float()
    if scale < 1:
        sides = [max(1, round(side * scale)) for side in image.shape[1:]]
        small = functional.interpolate(small, sides, mode="area")
    low, high = small.min(), small.max()
    pixels = ((small - low) / (high - low).clamp_min(1e-12) * 255).round().byte()[0].permute(1, 2, 0).contiguous()
    return {"shape": list(pixels.shape), "pixels": base64.b64encode(pixels.cpu().numpy().tobytes()).decode()}
