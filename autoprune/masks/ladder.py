"""Iterative magnitude pruning: which weights stay after one more round, counted exactly.

After round k a tensor of n weights keeps the nearest whole number to n (1 - rate)^k, one at least. Counting from the
formula, and not from what the round before has left, keeps rounding from adding up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from autoprune.errors import InputError

__all__ = ["first_masks", "kept_after", "pruned_globally", "pruned_in_layers", "random_masks", "shuffled"]


def kept_after(count: int, rate: float, rounds: int) -> int:
    """Weights that are left of so many.

    >>> [kept_after(1000, 0.2, k) for k in (0, 1, 2, 3, 40)]
    [1000, 800, 640, 512, 1]

    Raises:
        InputError: If the rate is not in (0, 1).
    """
    if not 0 < rate < 1:
        raise InputError(f"a pruning rate is above 0 and below 1, not {rate:g}")
    return max(1, math.floor(count * (1 - rate) ** rounds + 0.5))


def first_masks(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks that take nothing away."""
    return {name: torch.ones(weight.shape, dtype=torch.bool) for name, weight in weights.items()}


def pruned_in_layers(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], rates: Mapping[str, float], rounds: int
) -> dict[str, Tensor]:
    """Masks after a round in which every tensor loses its own smallest weights.

    Args:
        weights: Name -> weight, as training has left it.
        masks: Name -> bool, of its shape: what the rounds before have left.
        rates: Name -> share of its weights that goes in a round.
        rounds: Which round this is, from 1.
    """
    return {
        name: _largest(weights[name], mask, kept_after(mask.numel(), rates[name], rounds))
        for name, mask in masks.items()
    }


def pruned_globally(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], rate: float, rounds: int
) -> dict[str, Tensor]:
    """Masks after a round in which the smallest weights of all tensors go.

    The largest weight of each tensor stays: a tensor of zeros would cut the network.

    Args:
        weights: Name -> weight, as training has left it.
        masks: Name -> bool, of its shape: what the rounds before have left.
        rate: Share of all weights that goes in a round.
        rounds: Which round this is, from 1.
    """
    sizes = [mask.numel() for mask in masks.values()]
    magnitudes = []
    for name, mask in masks.items():
        own = _magnitude(weights[name], mask)
        own[own.argmax()] = torch.inf
        magnitudes.append(own)
    count = max(kept_after(sum(sizes), rate, rounds), len(sizes))
    parts = torch.split(_first_of(torch.cat(magnitudes), count), sizes)
    return {name: part.reshape(masks[name].shape) for name, part in zip(masks, parts, strict=True)}


def shuffled(masks: Mapping[str, Tensor], draws: torch.Generator) -> dict[str, Tensor]:
    """The masks with their places drawn anew within each tensor: its density stays, what it kept does not."""
    return {name: mask.flatten()[_order(mask, draws)].reshape(mask.shape) for name, mask in masks.items()}


def random_masks(masks: Mapping[str, Tensor], draws: torch.Generator) -> dict[str, Tensor]:
    """Random masks that keep as many weights as some masks do, drawn over all tensors together.

    One weight of every tensor stays, as in pruning by magnitude.
    """
    drawn = {name: torch.rand(mask.shape, generator=draws, dtype=torch.float64) for name, mask in masks.items()}
    sizes = [mask.numel() for mask in masks.values()]
    for each in drawn.values():
        each.view(-1)[each.argmax()] = torch.inf
    count = sum(int(mask.sum()) for mask in masks.values())
    chosen = _first_of(torch.cat([each.flatten() for each in drawn.values()]), count)
    parts = torch.split(chosen, sizes)
    return {name: part.reshape(masks[name].shape) for name, part in zip(masks, parts, strict=True)}


def _order(mask: Tensor, draws: torch.Generator) -> Tensor:
    return torch.randperm(mask.numel(), generator=draws)


def _magnitude(weight: Tensor, mask: Tensor) -> Tensor:
    """|w| of what is left, flat; below 0 where the rounds before took it, so that it can never come back."""
    found = weight.detach().to("cpu", torch.float64).abs().flatten()
    if bool(found.isnan().any()):
        raise InputError("a weight is not a number; the training had diverged")
    return found.masked_fill(~mask.flatten(), -1.0)


def _largest(weight: Tensor, mask: Tensor, count: int) -> Tensor:
    return _first_of(_magnitude(weight, mask), count).reshape(mask.shape)


def _first_of(values: Tensor, count: int) -> Tensor:
    """Bool, true for the so many largest; of equal ones the first."""
    mask = torch.zeros(values.numel(), dtype=torch.bool)
    mask[values.argsort(descending=True, stable=True)[:count]] = True
    return mask
