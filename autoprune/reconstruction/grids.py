"""Grids of numbers that weights are rounded to while they are pruned: the blocks of 32 that GGUF files store.

A block has one scale in half precision. Q8_0 takes the largest magnitude by 127; Q4_0 takes the value of largest
magnitude by -8, so that it is the end of the grid. That value is held at its end, whatever rounding the columns before
it adds, so writing the weights as that type gives the same numbers again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.errors import InputError

__all__ = ["BLOCK", "BlockOfGrid", "Grid", "grid_of_bits"]

BLOCK = 32
"""Neighbours along a layer's inputs that share a scale."""


@dataclass(frozen=True)
class Grid:
    """Whole numbers that a scale multiplies.

    Attributes:
        name: GGUF's type.
        least: Least whole number.
        most: Largest.
    """

    name: str
    least: int
    most: int

    def block(self, weights: Tensor) -> BlockOfGrid:
        """The scales of one block of each row.

        Args:
            weights: (out, c), c at most 32; pruned ones are zero.
        """
        place = weights.abs().argmax(dim=1, keepdim=True)
        value = weights.gather(1, place)
        end = torch.full_like(value, self.least) if -self.least > self.most else value.sign() * self.most
        scale = (value / end).nan_to_num(0.0).half().to(weights.dtype)
        return BlockOfGrid(self, scale.squeeze(1), place.squeeze(1), end.squeeze(1))


@dataclass(frozen=True, eq=False)
class BlockOfGrid:
    """A block of each row while its columns are rounded.

    Attributes:
        grid: Its whole numbers.
        scale: (out,); 0 where all is pruned.
        place: Column of the value of largest magnitude, (out,).
        end: The whole number that it is held at, (out,).
    """

    grid: Grid
    scale: Tensor
    place: Tensor
    end: Tensor

    def rounded(self, column: Tensor, number: int) -> Tensor:
        """One column's weights on the grid, (out,).

        Args:
            column: As the columns before left them; pruned ones are zero.
            number: Of the column in its block.
        """
        whole = (column / self.scale).nan_to_num(0.0, 0.0, 0.0).round().clamp(self.grid.least, self.grid.most)
        return torch.where(self.place == number, self.end, whole) * self.scale


_GRIDS = {8: Grid("Q8_0", -127, 127), 4: Grid("Q4_0", -8, 7)}


def grid_of_bits(bits: int) -> Grid:
    """The grid of so many bits.

    Raises:
        InputError: If there is none.
    """
    if bits not in _GRIDS:
        raise InputError(f"weights are rounded to 8 or 4 bits, not to {bits}")
    return _GRIDS[bits]
