"""The contract of a pattern of zeros.

A pattern works on a stack of matrices (planes, outputs, inputs), one plane for each position of a kernel; `planes.py`
says how the weight of each kind of layer is one. It keeps the most important weights by sorting and counting, never by
a threshold, which keeps too many where two weights are equal. Of equal ones the first stays.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor

from autoprune.errors import InputError

__all__ = ["Graded", "Pattern", "PlanesShape", "ShareOfZeros", "checked_saliency", "planes_shape"]

PlanesShape = tuple[int, int, int]
"""(planes, outputs, inputs) of a weight."""


class Pattern(ABC):
    """Which weights of a tensor may stay together. Patterns are values: equal ones are equal, and they pickle."""

    @property
    @abstractmethod
    def name(self) -> str:
        """How users write it; `autoprune.masks.parsing.pattern_of` reads it."""

    @abstractmethod
    def why_not(self, shape: PlanesShape) -> str | None:
        """Why a weight of this shape cannot be pruned by the pattern; None if it can."""

    @abstractmethod
    def kept(self, shape: PlanesShape) -> int:
        """How many weights of this shape stay, exactly."""

    @abstractmethod
    def mask(self, saliency: Tensor) -> Tensor:
        """The mask that keeps the most important weights.

        Args:
            saliency: Non-negative, (planes, outputs, inputs); larger is more important.

        Returns:
            bool, of the same shape: true where the weight stays; `kept` of them are.

        Raises:
            InputError: If the saliency is no stack of matrices of numbers, or the pattern cannot be had of its shape.
        """

    @abstractmethod
    def fault(self, mask: Tensor) -> str | None:
        """Where a mask, or the non-zeros of a weight, break the pattern, in words; None if they keep it.

        Fewer weights than may stay are no fault: a kept weight can be zero by itself.

        Args:
            mask: (planes, outputs, inputs); true or non-zero where a weight stays.
        """

    def density(self, shape: PlanesShape) -> float:
        """Share of the weights that stay."""
        return self.kept(shape) / math.prod(shape)


class Graded(Pattern):
    """A pattern that is one of a family: the same groups, of which more or less stays.

    A group is what an amount is counted of: of N:M the M neighbours, of banks the weights of a bank, of a share of all
    weights these weights, of blocks the blocks.
    """

    @property
    @abstractmethod
    def family(self) -> str:
        """The family's name; `autoprune.masks.parsing.family_of` reads it."""

    @abstractmethod
    def units(self, shape: PlanesShape) -> int:
        """How many units a whole group of a weight has."""

    @abstractmethod
    def keeping(self, kept: int, shape: PlanesShape) -> Pattern:
        """The pattern of the family that keeps so many units of a whole group, from 1 to fewer than all."""

    @property
    def step(self) -> int:
        """Amounts are multiples of this."""
        return 1


@dataclass(frozen=True)
class ShareOfZeros(Graded):
    """A pattern whose amount is a share of zeros.

    Attributes:
        zeros: Share of a group's units that goes, in [0, 1).
    """

    zeros: float

    def keeping(self, kept: int, shape: PlanesShape) -> Pattern:
        """See `Graded.keeping`."""
        return replace(self, zeros=1 - kept / self.units(shape))

    @property
    def family(self) -> str:
        """The name without its amount."""
        return self.name.rpartition(":")[0]


def planes_shape(tensor: Tensor) -> PlanesShape:
    """The shape of a stack of matrices.

    Raises:
        InputError: If the tensor is none.
    """
    if tensor.ndim != 3:
        raise InputError(f"a pattern needs (planes, outputs, inputs), not a tensor of shape {list(tensor.shape)}")
    return (tensor.shape[0], tensor.shape[1], tensor.shape[2])


def checked_saliency(pattern: Pattern, saliency: Tensor) -> Tensor:
    """The saliency, detached.

    Raises:
        InputError: If it is no matrix of numbers, or of a shape that the pattern cannot have.
    """
    planes, outputs, inputs = shape = planes_shape(saliency)
    reason = pattern.why_not(shape)
    if reason is not None:
        raise InputError(f"{pattern.name} cannot be had of {planes} x {outputs} x {inputs} weights: {reason}")
    if bool(saliency.isnan().any()):
        raise InputError("a saliency is not a number; check the weights, and the calibration images")
    return saliency.detach()
