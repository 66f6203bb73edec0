"""Single weights, wherever they lie: so many of a tensor, or of all tensors together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.masks.base import PlanesShape, ShareOfZeros, checked_saliency, planes_shape

__all__ = ["Unstructured", "checked_share", "global_masks", "zeros_of"]


@dataclass(frozen=True)
class Unstructured(ShareOfZeros):
    """A share of the weights is zero: those of least saliency, counted exactly.

    Attributes:
        zeros: Share of the weights that goes, in [0, 1); at least one weight stays.
        across: Whether the share is of all tensors together (`global_masks`), not of each.
    """

    across: bool = False

    def __post_init__(self) -> None:
        checked_share(self.zeros)

    @property
    def name(self) -> str:
        """As users write it."""
        return f"unstructured:{self.zeros:g}{'-global' if self.across else ''}"

    def why_not(self, shape: PlanesShape) -> str | None:
        """See `Pattern.why_not`."""
        return "it is a single weight" if math.prod(shape) < 2 else None

    @property
    def family(self) -> str:
        """The same for all shares of a tensor."""
        return "unstructured"

    def units(self, shape: PlanesShape) -> int:
        """See `Graded.units`: the weights."""
        return math.prod(shape)

    def kept(self, shape: PlanesShape) -> int:
        """See `Pattern.kept`."""
        return math.prod(shape) - zeros_of(math.prod(shape), self.zeros)

    def mask(self, saliency: Tensor) -> Tensor:
        """See `Pattern.mask`."""
        return _largest(checked_saliency(self, saliency), self.kept(planes_shape(saliency)))

    def fault(self, mask: Tensor) -> str | None:
        """See `Pattern.fault`."""
        stays, allowed = int((mask != 0).sum()), self.kept(planes_shape(mask))
        if self.across or stays <= allowed:
            return None
        return f"{stays} of {mask.numel()} weights are not zero, where {self.name} allows {allowed}"


def global_masks(saliencies: Mapping[str, Tensor], zeros: float) -> dict[str, Tensor]:
    """Masks that keep the most important weights of all tensors together.

    The most important weight of every tensor stays, whatever the others are: a tensor of zeros would cut the network.

    Args:
        saliencies: Name of a tensor -> its saliency, of any shape.
        zeros: Share of all weights that goes, in [0, 1).

    Returns:
        Name -> bool, of the saliency's shape; the masks together keep the count exactly.

    Raises:
        InputError: If more is to go than leaves one weight in each tensor.
    """
    checked_share(zeros)
    flat = {name: saliency.detach().flatten().double() for name, saliency in saliencies.items()}
    total = sum(each.numel() for each in flat.values())
    kept = total - zeros_of(total, zeros)
    if kept < len(flat):
        raise InputError(f"{zeros:g} of {total} weights leave {kept}, fewer than one for each of {len(flat)} layers")
    marked = []
    for each in flat.values():
        own = each.clone()
        own[own.argmax()] = torch.inf
        marked.append(own)
    mask = _largest(torch.cat(marked), kept)
    parts = torch.split(mask, [each.numel() for each in flat.values()])
    return {name: part.reshape(saliencies[name].shape) for name, part in zip(flat, parts, strict=True)}


def zeros_of(count: int, share: float) -> int:
    """How many of so many go: the nearest whole number, and never all.

    >>> zeros_of(10, 0.9), zeros_of(10, 0.99), zeros_of(3, 0.5)
    (9, 9, 2)
    """
    return min(round(count * share + 1e-9), count - 1)


def checked_share(zeros: float) -> None:
    """Refuse a share of zeros that is none.

    Raises:
        InputError: If it is not in [0, 1).
    """
    if not 0 <= zeros < 1:
        raise InputError(f"a share of zeros is from 0 up to below 1, not {zeros:g}")


def _largest(saliency: Tensor, count: int) -> Tensor:
    """Bool of the saliency's shape, true for its so many largest elements; of equal ones the first."""
    order = saliency.flatten().argsort(descending=True, stable=True)
    mask = torch.zeros(saliency.numel(), dtype=torch.bool, device=saliency.device)
    mask[order[:count]] = True
    return mask.reshape(saliency.shape)
