"""The weight of a layer as a stack of matrices (planes, outputs, inputs), a plane for each position of its kernel.

Kernels for sparse weights read a convolution as a product for every kernel position, (outputs, input channels) each, so
groups run along the input channels of one group of the convolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from autoprune.masks.base import PlanesShape

__all__ = ["PLAIN", "Planes"]


@dataclass(frozen=True)
class Planes:
    """How the dimensions of a weight count; its other dimensions are the kernel's.

    Attributes:
        inputs: The dimension that counts the inputs: 1 of linear layers and convolutions, 0 of transformers' Conv1D.
        outputs: The one that counts the outputs.
    """

    inputs: int = 1
    outputs: int = 0

    def of(self, weight: Tensor) -> Tensor:
        """A weight as (planes, outputs, inputs)."""
        moved = weight.movedim((self.outputs, self.inputs), (-2, -1))
        return moved.reshape(-1, *moved.shape[-2:])

    def shape(self, sizes: Sequence[int]) -> PlanesShape:
        """The shape of `of` for a weight of these sizes."""
        outputs, inputs = sizes[self.outputs], sizes[self.inputs]
        return math.prod(sizes) // max(outputs * inputs, 1), outputs, inputs

    def back(self, planes: Tensor, like: Tensor) -> Tensor:
        """The inverse of `of`: shaped as `like`."""
        moved = like.movedim((self.outputs, self.inputs), (-2, -1)).shape
        return planes.reshape(moved).movedim((-2, -1), (self.outputs, self.inputs)).contiguous()


PLAIN = Planes()
"""Of linear layers and convolutions: outputs first, then inputs."""
