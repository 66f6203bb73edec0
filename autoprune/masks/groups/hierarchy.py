"""Hierarchical N:M: N of M neighbours stay, in some of every few blocks of M (Wu et al., HighLight, MICRO 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.masks.base import Graded, PlanesShape, checked_saliency
from autoprune.masks.n_of_m import NofM, grouped

__all__ = ["HierarchicalNofM"]


@dataclass(frozen=True)
class HierarchicalNofM(Graded):
    """Of every `outer.m` blocks of neighbours `outer.n` stay, and of such a block `inner.n` of its `inner.m` weights.

    The blocks that stay are those whose best `inner.n` weights matter most together. Groups at the edge count as if
    they were filled up with zeros, like those of `NofM`.

    Attributes:
        inner: Of the weights of a block.
        outer: Of the blocks.
    """

    inner: NofM
    outer: NofM

    @property
    def name(self) -> str:
        """As users write it."""
        return f"{self.inner.name}/{self.outer.name}"

    @property
    def family(self) -> str:
        """How many of the blocks stay is open."""
        return f"{self.inner.name}/N:{self.outer.m}"

    @property
    def step(self) -> int:
        """A block more or less."""
        return self.inner.n

    def units(self, shape: PlanesShape) -> int:
        """See `Graded.units`: the weights of an outer group."""
        return self.inner.m * self.outer.m

    def keeping(self, kept: int, shape: PlanesShape) -> HierarchicalNofM:
        """See `Graded.keeping`: so many weights, in whole blocks of the inner pattern."""
        blocks = min(max(1, round(kept / self.inner.n)), self.outer.m)
        return HierarchicalNofM(self.inner, NofM(blocks, self.outer.m))

    def why_not(self, shape: PlanesShape) -> str | None:
        """See `Pattern.why_not`."""
        blocks = -(-shape[2] // self.inner.m)
        if blocks <= self.outer.n < self.outer.m:
            return f"it has {shape[2]} inputs, and {self.name} keeps {self.outer.n} of its {blocks} blocks"
        return self.inner.why_not(shape)

    def kept(self, shape: PlanesShape) -> int:
        """Exact where inputs are a multiple of the outer group; else the most that may stay (the edge is smaller)."""
        blocks, rest = divmod(shape[2], self.inner.m)
        own = [*[self.inner.n] * blocks, *([min(rest, self.inner.n)] if rest else [])]
        parts = [own[first : first + self.outer.m] for first in range(0, len(own), self.outer.m)]
        return shape[0] * shape[1] * sum(sum(sorted(part)[-self.outer.n :]) for part in parts)

    def mask(self, saliency: Tensor) -> Tensor:
        """See `Pattern.mask`."""
        checked = checked_saliency(self, saliency).double()
        inner = grouped(checked, self.inner.m, -torch.inf)
        order = inner.argsort(dim=3, descending=True, stable=True)[..., : self.inner.n]
        stays = torch.zeros_like(inner, dtype=torch.bool).scatter_(3, order, True)
        worth = torch.where(stays & torch.isfinite(inner), inner, 0.0).sum(dim=3)
        blocks = grouped(worth, self.outer.m, -torch.inf)
        best = blocks.argsort(dim=3, descending=True, stable=True)[..., : self.outer.n]
        chosen = torch.zeros_like(blocks, dtype=torch.bool).scatter_(3, best, True)
        kept = stays & chosen.flatten(2)[..., : inner.shape[2], None]
        return kept.flatten(2)[..., : saliency.shape[2]].contiguous()

    def fault(self, mask: Tensor) -> str | None:
        """See `Pattern.fault`."""
        found = self.inner.fault(mask)
        if found is not None:
            return found
        missing = -mask.shape[2] % self.inner.m
        padded = functional.pad((mask != 0).to(torch.int32), (0, missing))
        blocks = padded.reshape(*padded.shape[:2], -1, self.inner.m).sum(dim=3) > 0
        found = self.outer.fault(blocks)
        return None if found is None else f"counted in blocks of {self.inner.m} inputs: {found}"
