"""Whole kernels, or whole filters, stay or go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.masks.base import PlanesShape, ShareOfZeros, checked_saliency
from autoprune.masks.unstructured import checked_share, zeros_of

__all__ = ["WholeUnits"]

_DIMENSIONS = {"kernel": (0,), "filter": (0, 2)}
"""What lies within a unit, of (planes, outputs, inputs)."""


@dataclass(frozen=True)
class WholeUnits(ShareOfZeros):
    """A share of the units is zero: those of least mean saliency.

    Attributes:
        zeros: Share of the units that goes, in [0, 1); at least one stays.
        unit: `kernel`, all positions between one input and one output; or `filter`, all that one output reads.
    """

    unit: Literal["kernel", "filter"]

    def __post_init__(self) -> None:
        if self.unit not in _DIMENSIONS:
            raise InputError(f"units are kernels or filters, not {self.unit!r}")
        checked_share(self.zeros)

    @property
    def name(self) -> str:
        """As users write it."""
        return f"{self.unit}:{self.zeros:g}"

    def why_not(self, shape: PlanesShape) -> str | None:
        """See `Pattern.why_not`."""
        if self.unit == "kernel" and shape[0] == 1:
            return "its kernel is a single weight"
        return f"it has a single {self.unit}" if self.units(shape) < 2 else None

    def units(self, shape: PlanesShape) -> int:
        """See `Graded.units`: kernels or filters."""
        return shape[1] * shape[2] if self.unit == "kernel" else shape[1]

    def kept(self, shape: PlanesShape) -> int:
        """See `Pattern.kept`."""
        units = self.units(shape)
        return (units - zeros_of(units, self.zeros)) * (shape[0] * shape[1] * shape[2] // units)

    def mask(self, saliency: Tensor) -> Tensor:
        """See `Pattern.mask`."""
        worth = checked_saliency(self, saliency).double().mean(dim=_DIMENSIONS[self.unit], keepdim=True)
        order = worth.flatten().argsort(descending=True, stable=True)
        stays = torch.zeros(worth.numel(), dtype=torch.bool, device=worth.device)
        stays[order[: worth.numel() - zeros_of(worth.numel(), self.zeros)]] = True
        return stays.reshape(worth.shape).expand(saliency.shape).contiguous()

    def fault(self, mask: Tensor) -> str | None:
        """See `Pattern.fault`."""
        stays = (mask != 0).sum(dim=_DIMENSIONS[self.unit]) > 0
        allowed = stays.numel() - zeros_of(stays.numel(), self.zeros)
        if int(stays.sum()) <= allowed:
            return None
        return f"{int(stays.sum())} {self.unit}s are not zero, where {self.name} allows {allowed}"
