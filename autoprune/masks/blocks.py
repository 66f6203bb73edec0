"""Whole blocks of weights stay or go."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.errors import InputError
from autoprune.masks.base import PlanesShape, ShareOfZeros, checked_saliency, planes_shape
from autoprune.masks.unstructured import checked_share, zeros_of

__all__ = ["Blocks"]


@dataclass(frozen=True)
class Blocks(ShareOfZeros):
    """A share of the blocks of `rows` outputs by `columns` inputs is zero; those of least mean saliency.

    Where a width is no multiple of the block's, the blocks at the edge are smaller; each counts as a block.
    Blocks lie in one plane, and the share is of those of all planes.

    Attributes:
        zeros: Share of the blocks that goes, in [0, 1); at least one block stays.
        rows: Outputs of a block.
        columns: Inputs of a block.
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or self.rows * self.columns < 2:
            raise InputError(f"a block of {self.rows}x{self.columns} weights is none; write such as 4x4:0.5")
        checked_share(self.zeros)

    @property
    def name(self) -> str:
        """As users write it."""
        return f"{self.rows}x{self.columns}:{self.zeros:g}"

    def why_not(self, shape: PlanesShape) -> str | None:
        """See `Pattern.why_not`."""
        blocks = math.prod(self._counts(shape))
        return f"it is a single block of {self.rows}x{self.columns}" if blocks < 2 else None

    def units(self, shape: PlanesShape) -> int:
        """See `Graded.units`: the blocks."""
        return math.prod(self._counts(shape))

    def kept(self, shape: PlanesShape) -> int:
        """Exact where widths are multiples of the block's; else the most that may stay (edge blocks are smaller)."""
        blocks = math.prod(self._counts(shape))
        return min((blocks - zeros_of(blocks, self.zeros)) * self.rows * self.columns, math.prod(shape))

    def mask(self, saliency: Tensor) -> Tensor:
        """See `Pattern.mask`."""
        checked = checked_saliency(self, saliency).double()
        sums, sizes = self._sums(checked), self._sums(torch.ones_like(checked))
        order = (sums / sizes).flatten().argsort(descending=True, stable=True)
        kept = torch.zeros(order.numel(), dtype=torch.bool, device=saliency.device)
        kept[order[: order.numel() - zeros_of(order.numel(), self.zeros)]] = True
        return self._spread(kept.reshape(sums.shape), saliency)

    def fault(self, mask: Tensor) -> str | None:
        """See `Pattern.fault`."""
        stays = self._sums((mask != 0).double()) > 0
        blocks = stays.numel() - zeros_of(stays.numel(), self.zeros)
        if int(stays.sum()) <= blocks:
            return None
        return (
            f"{int(stays.sum())} blocks of {self.rows}x{self.columns} are not zero, where {self.name} allows {blocks}"
        )

    def _counts(self, shape: PlanesShape) -> PlanesShape:
        return shape[0], -(-shape[1] // self.rows), -(-shape[2] // self.columns)

    def _sums(self, weights: Tensor) -> Tensor:
        """Sums of the blocks, (planes, blocks down, blocks across)."""
        planes, down, across = self._counts(planes_shape(weights))
        missing = (0, across * self.columns - weights.shape[2], 0, down * self.rows - weights.shape[1])
        padded = functional.pad(weights, missing)
        return padded.reshape(planes, down, self.rows, across, self.columns).sum(dim=(2, 4))

    def _spread(self, blocks: Tensor, like: Tensor) -> Tensor:
        whole = blocks.repeat_interleave(self.rows, 1).repeat_interleave(self.columns, 2)
        return whole[:, : like.shape[1], : like.shape[2]].contiguous()
