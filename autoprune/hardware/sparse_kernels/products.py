"""Linear layers and convolutions as one product with a matrix, which may be a sparse one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ConvolutionAsProduct", "convolved", "matrix_of", "unfolded"]


def matrix_of(weight: Tensor) -> Tensor:
    """The weight of a linear layer or convolution as a matrix (outputs, kernel positions x input channels).

    Groups of four along the input channels are groups of four along its rows where the channels are a multiple of 4.
    """
    return weight if weight.ndim == 2 else weight.movedim(1, -1).flatten(1).contiguous()


def unfolded(
    image: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """What each output position of a convolution reads.

    Args:
        image: (N, C, *size).
        kernel: Kernel extent in every spatial dimension.
        stride: Likewise.
        padding: On both sides, likewise.
        dilation: Likewise.

    Returns:
        (N, *out_size, kernel positions x C); a view where the kernel is 1.
    """
    sides = [side for extent in reversed(padding) for side in (extent, extent)]
    moved = (functional.pad(image, sides) if any(padding) else image).movedim(1, -1)
    spaces = zip(moved.shape[1:-1], kernel, stride, dilation, strict=True)
    ends = [(size - spread * (extent - 1) - 1) // step * step + 1 for size, extent, step, spread in spaces]
    read = [
        moved[(slice(None), *_window(places, ends, stride, dilation))]
        for places in itertools.product(*(range(extent) for extent in kernel))
    ]
    return read[0] if len(read) == 1 else torch.cat(read, dim=-1)


def _window(
    places: Sequence[int], ends: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[slice, ...]:
    """What one kernel position reads of every spatial dimension."""
    starts = [place * spread for place, spread in zip(places, dilation, strict=True)]
    return tuple(slice(start, start + end, step) for start, end, step in zip(starts, ends, stride, strict=True))


Geometry = tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]]
"""Kernel, stride, padding and dilation of a convolution."""


def convolved(image: Tensor, matrix: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """A convolution without groups as one product.

    Args:
        image: (N, C, *size).
        matrix: (outputs, kernel positions x C), as `matrix_of` makes it; dense or sparse.
        bias: (outputs,), or None.
        geometry: Of the convolution.

    Returns:
        (N, outputs, *out_size).
    """
    read = unfolded(image, *geometry)
    output = functional.linear(read.reshape(-1, read.shape[-1]), matrix, bias)
    return output.reshape(*read.shape[:-1], -1).movedim(-1, 1)


class ConvolutionAsProduct(nn.Module):
    """A convolution without groups as a product with a matrix: unfold, multiply, back to (N, outputs, *out_size).

    Args:
        convolution: Whose weight, bias and geometry it has; padded with zeros on both sides alike.

    Attributes:
        weight: (outputs, kernel positions x input channels); may be replaced by a sparse one.
    """

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        given: Any = convolution
        if given.groups != 1 or given.transposed or given.padding_mode != "zeros" or isinstance(given.padding, str):
            raise TypeError(f"{convolution} is no single product with a matrix")
        self.weight = nn.Parameter(matrix_of(given.weight.detach()), requires_grad=False)
        self.bias = given.bias
        self.kernel, self.stride = tuple(given.kernel_size), tuple(given.stride)
        self.padding, self.dilation = tuple(given.padding), tuple(given.dilation)

    def forward(self, image: Tensor) -> Tensor:
        """(N, C, *size) to (N, outputs, *out_size)."""
        return convolved(image, self.weight, self.bias, (self.kernel, self.stride, self.padding, self.dilation))

    def extra_repr(self) -> str:
        """For people."""
        outputs, inputs = self.weight.shape
        return f"{inputs}, {outputs}, kernel={self.kernel}, stride={self.stride}"
