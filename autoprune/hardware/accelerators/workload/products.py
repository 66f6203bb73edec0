"""Operators with weights as matrices times vectors: convolutions by im2col, linear layers, plain products."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["PRODUCTS", "Product", "product_of"]

_CONVOLUTIONS = {"conv1d": 1, "conv2d": 2, "conv3d": 3}
_TRANSPOSED = {"conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3}

PRODUCTS = {
    **dict.fromkeys((*_CONVOLUTIONS, *_TRANSPOSED), ("input", "weight", "bias")),
    "linear": ("input", "weight", "bias"),
    "addmm": ("mat1", "mat2", "self"),
    "mm": ("self", "mat2", None),
    "matmul": ("self", "other", None),
}
"""Operator -> names of its arguments: what it is given, the weight, what is added (None where nothing can be)."""


@dataclass(frozen=True, eq=False)
class Product:
    """One call of an operator as a matrix and its vectors.

    Attributes:
        matrix: (outputs, inputs of one group), rows as `LayerWork` orders them.
        vectors: How many vectors the call multiplies it with.
        groups: Groups of a convolution.
        kernel: Positions of its kernel.
        given: The operator's input, a convolution's padded.
        window: Of a convolution: how far its kernel reaches, in each spatial dimension.
    """

    matrix: Tensor
    vectors: int
    given: Tensor
    groups: int = 1
    kernel: int = 1
    window: tuple[slice, ...] = ()
    stride: tuple[int, ...] = ()
    out_size: tuple[int, ...] = ()

    def sample(self, count: int, draw: np.random.Generator, among: int) -> NDArray[np.float32]:
        """So many of the first `among` vectors, drawn without replacement: (at most count, groups * inputs)."""
        places = np.sort(draw.permutation(among)[:count])
        if not self.out_size:
            flat = self.given.reshape(-1, self.matrix.shape[1])
            return flat[torch.from_numpy(places)].float().numpy()
        return np.stack([self._patch(int(place)) for place in places])

    def _patch(self, place: int) -> NDArray[np.float32]:
        image, *at = np.unravel_index(place, (self.given.shape[0], *self.out_size))
        reach = (
            slice(int(p) * s, int(p) * s + w.stop, w.step) for p, s, w in zip(at, self.stride, self.window, strict=True)
        )
        patch = self.given[int(image)][(slice(None), *reach)]
        channels_last = patch.reshape(self.groups, -1, self.kernel).transpose(1, 2)
        return channels_last.reshape(-1).float().numpy()


def product_of(operator: str, arguments: dict[str, Any]) -> Product | None:
    """An operator that was called as a matrix and its vectors; None where it is no such product.

    Args:
        operator: One of `PRODUCTS`.
        arguments: What it was called with, by name: tensors and sizes.
    """
    given, weight = (arguments[name] for name in PRODUCTS[operator][:2])
    if operator in _CONVOLUTIONS:
        return _convolution(given, weight, arguments, _CONVOLUTIONS[operator])
    if operator in _TRANSPOSED:
        return _transposed(given, weight, arguments, _TRANSPOSED[operator])
    if weight.dim() != 2:
        return None
    matrix = weight if operator == "linear" else weight.T
    return Product(matrix, given.numel() // max(1, matrix.shape[1]), given)


def _convolution(given: Tensor, weight: Tensor, arguments: dict[str, Any], dims: int) -> Product:
    stride, dilation = (_each(arguments[name], dims) for name in ("stride", "dilation"))
    kernel = tuple(weight.shape[2:])
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    padded = _padded(given if given.dim() == dims + 2 else given[None], arguments["padding"], reach)
    out_size = tuple((size - r) // s + 1 for size, r, s in zip(padded.shape[2:], reach, stride, strict=True))
    matrix = weight.reshape(*weight.shape[:2], -1).transpose(1, 2).reshape(len(weight), -1)
    window = tuple(slice(0, r, d) for r, d in zip(reach, dilation, strict=True))
    vectors = padded.shape[0] * math.prod(out_size)
    return Product(matrix, vectors, padded, arguments["groups"], math.prod(kernel), window, stride, out_size)


def _transposed(given: Tensor, weight: Tensor, arguments: dict[str, Any], dims: int) -> Product:
    """A transposed convolution as the convolution that it is: zeros between its inputs, its kernel turned round."""
    stride, padding, dilation, more = (
        _each(arguments[name], dims) for name in ("stride", "padding", "dilation", "output_padding")
    )
    given, groups = given if given.dim() == dims + 2 else given[None], arguments["groups"]
    sizes = [(size - 1) * s + 1 for size, s in zip(given.shape[2:], stride, strict=True)]
    spread = given.new_zeros((*given.shape[:2], *sizes))
    spread[(slice(None), slice(None), *(slice(None, None, s) for s in stride))] = given
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    sides = [(r - p, r - p + m) for r, p, m in zip(reach, padding, more, strict=True)]
    spread = F.pad(spread, list(itertools.chain(*reversed(sides))))
    by_group = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
    turned = by_group.flip(tuple(range(2, dims + 2)))
    plain = {"stride": 1, "padding": "valid", "dilation": dilation, "groups": groups}
    return _convolution(spread, turned, plain, dims)


def _padded(given: Tensor, padding: Any, reach: tuple[int, ...]) -> Tensor:
    """The input with its zeros around it; `same` may have one more of them behind."""
    if padding == "valid":
        return given
    if padding == "same":
        sides = [((r - 1) // 2, r - 1 - (r - 1) // 2) for r in reach]
    else:
        sides = [(p, p) for p in _each(padding, len(reach))]
    return F.pad(given, list(itertools.chain(*reversed(sides))))


def _each(value: Any, dims: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    return values if len(values) == dims else values * dims
