"""The compressed 2:4 layout: of every four neighbours the two that may stay, and two bits for each that say where.

It takes 9/16 of the bytes of a 16-bit weight, 10/16 of an int8 one, 17/32 of a float32 one. Kernels for sparse tensor
cores hold the same values and positions, in an order of their own; this is the layout of files, in plain torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.masks.base import Pattern
from autoprune.masks.both_ways import NofMBothWays
from autoprune.masks.n_of_m import NofM, grouped
from autoprune.masks.planes import PLAIN, Planes

__all__ = ["DTYPES", "TWO_OF_FOUR", "Compressed", "compress", "decompress", "is_two_of_four", "why_not_compressed"]

TWO_OF_FOUR = NofM(2, 4)

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.int8)
"""Of weights that can be compressed."""

_GROUP, _STAY = 4, 2


@dataclass(frozen=True, eq=False)
class Compressed:
    """A weight of the pattern 2:4.

    Attributes:
        values: What stays, in the order of the inputs: (planes, outputs, 2 * groups), of the weight's dtype.
        positions: uint8, one dimension: four bits for each group, the first of two groups in the lower ones. A group's
            lower two bits say where in it its first value lies, the upper two where the second.
        sizes: The shape of the weight.
        planes: Which of its dimensions are outputs and inputs.
    """

    values: Tensor
    positions: Tensor
    sizes: tuple[int, ...]
    planes: Planes = PLAIN

    @property
    def bytes(self) -> int:
        """Bytes of values and positions."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.values, self.positions))


def is_two_of_four(pattern: Pattern) -> bool:
    """Whether all that has the pattern is 2:4 as well: 2:4 itself, 2:4 both ways, 1:4, 1:2, 2:8, ..."""
    if not isinstance(pattern, NofM | NofMBothWays):
        return False
    return pattern.n <= _STAY if pattern.m % _GROUP == 0 else (pattern.n, pattern.m) == (1, 2)


def why_not_compressed(weight: Tensor, planes: Planes = PLAIN) -> str | None:
    """Why a weight cannot be compressed, in words; None if it can.

    Args:
        weight: Of two dimensions or more.
        planes: Which of its dimensions are outputs and inputs.
    """
    if weight.ndim < 2:
        return f"a tensor of shape {list(weight.shape)} has no inputs to group"
    if weight.dtype not in DTYPES:
        known = ", ".join(_named(dtype) for dtype in DTYPES)
        return f"{_named(weight.dtype)} cannot be written compressed, only {known}"
    fault = TWO_OF_FOUR.fault(planes.of(weight))
    return None if fault is None else f"the weight is not 2:4: {fault}"


def compress(weight: Tensor, planes: Planes = PLAIN) -> Compressed:
    """A weight in the compressed layout; nothing of it is lost.

    Where the inputs are no multiple of four, the last group is filled up with zeros.

    Args:
        weight: Of the pattern 2:4 along its inputs, (outputs, inputs, kernel ...) or as `planes` says.
        planes: Which of its dimensions are outputs and inputs.

    Raises:
        InputError: If it is not 2:4, or of a dtype or shape that cannot be compressed.

    >>> compress(torch.tensor([[0.0, 3.0, 0.0, 5.0]])).values
    tensor([[[3., 5.]]])
    """
    reason = why_not_compressed(weight, planes)
    if reason is not None:
        raise InputError(f"the layout compressed holds 2:4 weights: {reason}")
    groups = grouped(planes.of(weight.detach()), _GROUP, 0)
    order = (groups != 0).to(torch.uint8).argsort(dim=3, descending=True, stable=True)
    places = order[..., :_STAY].sort(dim=3).values
    values = groups.gather(3, places).flatten(2).contiguous()
    return Compressed(values, _packed(places), tuple(weight.shape), planes)


def decompress(compressed: Compressed) -> Tensor:
    """The inverse of `compress`: the weight with its zeros, contiguous.

    Raises:
        InputError: If values and positions are not those of a weight of this shape.
    """
    planes, outputs, inputs = compressed.planes.shape(compressed.sizes)
    groups = -(-inputs // _GROUP)
    values, positions = compressed.values, compressed.positions
    if tuple(values.shape) != (planes, outputs, groups * _STAY) or values.dtype not in DTYPES:
        raise InputError(
            f"the compressed values {list(values.shape)} are not those of a weight of shape {list(compressed.sizes)}"
        )
    places = _unpacked(positions, planes * outputs * groups).reshape(planes, outputs, groups, _STAY)
    dense = values.new_zeros(planes, outputs, groups, _GROUP)
    dense.scatter_(3, places.to(values.device), values.reshape(places.shape))
    like = torch.empty(compressed.sizes, device="meta")
    return compressed.planes.back(dense.flatten(2)[..., :inputs], like)


def _packed(places: Tensor) -> Tensor:
    """Places of two values in each group, (..., 2), to four bits a group."""
    codes = (places[..., 0] | places[..., 1] << 2).flatten().to(torch.uint8)
    codes = torch.nn.functional.pad(codes, (0, codes.numel() % 2))
    return codes[0::2] | codes[1::2] << 4


def _unpacked(positions: Tensor, groups: int) -> Tensor:
    """The inverse of `_packed`: int64, (groups, 2).

    Raises:
        InputError: If these are not the positions of so many groups.
    """
    if positions.dtype != torch.uint8 or positions.ndim != 1 or positions.numel() != math.ceil(groups / 2):
        raise InputError(f"the compressed positions are not those of {groups} groups of four weights")
    codes = torch.stack((positions & 15, positions >> 4), dim=1).flatten()[:groups].long()
    places = torch.stack((codes & 3, codes >> 2), dim=1)
    if not bool((places[:, 0] < places[:, 1]).all()):
        raise InputError("the compressed positions are damaged: a group names one place twice, or out of order")
    return places


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
