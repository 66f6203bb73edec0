"""N of every M neighbours along the inputs stay."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.errors import InputError
from autoprune.masks.base import Graded, PlanesShape, checked_saliency

__all__ = ["LARGEST_GROUP", "NofM", "grouped"]

LARGEST_GROUP = 1024
"""Largest M: no kernel knows of more than 16."""


@dataclass(frozen=True)
class NofM(Graded):
    """Of each output, N weights stay of every M neighbours along the inputs.

    Where the inputs are no multiple of M, the last group is smaller. It counts as if it were filled up with zeros, as
    kernels fill it: up to N of its weights stay. So 7 inputs at 2:4 keep 2 of the first four and 2 of the last three.

    Attributes:
        n: Weights of each group that stay, 1 to M.
        m: Neighbours in a group.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.m:
            raise InputError(
                f"the pattern {self.n}:{self.m} keeps {self.n} of {self.m} weights; write 1 to {self.m} of {self.m}"
            )
        if not 2 <= self.m <= LARGEST_GROUP:
            raise InputError(f"the pattern {self.n}:{self.m} needs groups of 2 to {LARGEST_GROUP} weights")

    @property
    def name(self) -> str:
        """As users write it."""
        return f"{self.n}:{self.m}"

    @property
    def family(self) -> str:
        """N is open."""
        return f"N:{self.m}"

    def units(self, shape: PlanesShape) -> int:
        """See `Graded.units`: the neighbours."""
        return self.m

    def keeping(self, kept: int, shape: PlanesShape) -> NofM:
        """See `Graded.keeping`."""
        return NofM(kept, self.m)

    def why_not(self, shape: PlanesShape) -> str | None:
        """See `Pattern.why_not`."""
        if shape[2] <= self.n < self.m:
            inputs = "one input" if shape[2] == 1 else f"{shape[2]} inputs"
            return f"it has {inputs}, and {self.name} keeps {self.n} of each group"
        return None

    def kept(self, shape: PlanesShape) -> int:
        """See `Pattern.kept`."""
        whole, rest = divmod(shape[2], self.m)
        return shape[0] * shape[1] * (whole * self.n + min(rest, self.n))

    def mask(self, saliency: Tensor) -> Tensor:
        """See `Pattern.mask`."""
        groups = grouped(checked_saliency(self, saliency), self.m, -torch.inf)
        order = groups.argsort(dim=3, descending=True, stable=True)[..., : self.n]
        mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(3, order, True)
        return mask.flatten(2)[..., : saliency.shape[2]].contiguous()

    def fault(self, mask: Tensor) -> str | None:
        """See `Pattern.fault`."""
        counts = grouped((mask != 0).to(torch.int32), self.m, 0).sum(dim=3)
        if int(counts.max()) <= self.n:
            return None
        plane, output, group = (counts > self.n).nonzero()[0].tolist()
        last = min((group + 1) * self.m, mask.shape[2]) - 1
        return (
            f"{int(counts[plane, output, group])} weights of output {output}, inputs {group * self.m} to {last}, are"
            f" not zero, where {self.name} allows {self.n}"
        )


def grouped(weights: Tensor, m: int, filler: float) -> Tensor:
    """(planes, outputs, inputs) as (planes, outputs, groups, m); the last group is filled up."""
    padded = functional.pad(weights, (0, -weights.shape[2] % m), value=filler)
    return padded.reshape(*padded.shape[:2], -1, m)
