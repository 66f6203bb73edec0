"""The contract of balanced patterns: every group of a weight keeps the same count, so that no unit waits for another.

They read a weight as the matrix that accelerators multiply with: an output a row, and along a row the positions of the
kernel, the input channels of each next to each other.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.masks.base import PlanesShape, ShareOfZeros, checked_saliency
from autoprune.masks.unstructured import checked_share, zeros_of

__all__ = ["Balanced", "as_matrix", "as_planes"]


@dataclass(frozen=True)
class Balanced(ShareOfZeros):
    """Of every group of weights the same number stays: the most important of each.

    Where groups are of unequal size, a smaller one counts as if it were filled up with zeros: it keeps as many as the
    others, or all that it has.

    Attributes:
        zeros: Share of a whole group that goes, in [0, 1).
    """

    def __post_init__(self) -> None:
        checked_share(self.zeros)

    @abstractmethod
    def groups(self, matrix: Tensor, filler: float) -> Tensor:
        """A matrix (outputs, inputs) as (groups, size); smaller groups are filled up."""

    @abstractmethod
    def back(self, groups: Tensor, outputs: int, inputs: int) -> Tensor:
        """The inverse of `groups`, without the filling."""

    @abstractmethod
    def where(self, group: int, outputs: int, inputs: int) -> str:
        """What a group is called, for people."""

    def count(self, shape: PlanesShape) -> int:
        """How many weights of a whole group stay; one at least."""
        size = self.units(shape)
        return size - zeros_of(size, self.zeros)

    def kept(self, shape: PlanesShape) -> int:
        """See `Pattern.kept`."""
        planes, outputs, inputs = shape
        real = self.groups(torch.ones(outputs, planes * inputs, dtype=torch.int32), 0).sum(dim=1)
        return int(real.clamp(max=self.count(shape)).sum())

    def mask(self, saliency: Tensor) -> Tensor:
        """See `Pattern.mask`."""
        matrix = as_matrix(checked_saliency(self, saliency))
        groups = self.groups(matrix, -torch.inf)
        order = groups.argsort(dim=1, descending=True, stable=True)[:, : self.count(_shape(saliency))]
        chosen = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, order, True)
        return as_planes(self.back(chosen, *matrix.shape), _shape(saliency))

    def fault(self, mask: Tensor) -> str | None:
        """See `Pattern.fault`."""
        matrix, allowed = as_matrix(mask != 0), self.count(_shape(mask))
        counts = self.groups(matrix.to(torch.int32), 0).sum(dim=1)
        if int(counts.max()) <= allowed:
            return None
        group = int((counts > allowed).nonzero()[0])
        return (
            f"{int(counts[group])} weights of {self.where(group, *matrix.shape)} are not zero, where {self.name}"
            f" allows {allowed}"
        )


def as_matrix(planes: Tensor) -> Tensor:
    """(planes, outputs, inputs) as (outputs, planes x inputs), the inputs of a plane next to each other."""
    return planes.movedim(0, 1).flatten(1)


def as_planes(matrix: Tensor, shape: PlanesShape) -> Tensor:
    """The inverse of `as_matrix`."""
    planes, outputs, inputs = shape
    return matrix.reshape(outputs, planes, inputs).movedim(1, 0).contiguous()


def _shape(tensor: Tensor) -> PlanesShape:
    return (tensor.shape[0], tensor.shape[1], tensor.shape[2])
