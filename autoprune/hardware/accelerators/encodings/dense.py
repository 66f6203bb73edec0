"""Encodings that say something of every place: a bitmap, and a bitmap of blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autoprune.hardware.accelerators.encodings.base import Encoded, Encoding, Mask

__all__ = ["Bitmap", "Blocks"]


@dataclass(frozen=True)
class Bitmap(Encoding):
    """One bit a place."""

    name: ClassVar[str] = "bitmap"

    def _encode(self, mask: Mask) -> Encoded:
        return Encoded(mask.reshape(-1).copy(), np.ones(np.count_nonzero(mask), dtype=np.bool_))

    def decode(self, encoded: Encoded, shape: tuple[int, int]) -> Mask:
        """The index is the mask."""
        return encoded.index.reshape(shape).copy()


@dataclass(frozen=True)
class Blocks(Encoding):
    """One bit a block; a block with a weight stores all its values. What is no whole block at the edges is filled up.

    Attributes:
        rows: Outputs of a block.
        columns: Inputs of a block.
    """

    rows: int
    columns: int
    name: ClassVar[str] = "block"

    def _encode(self, mask: Mask) -> Encoded:
        padded = np.pad(mask, ((0, -mask.shape[0] % self.rows), (0, -mask.shape[1] % self.columns)))
        shape = (padded.shape[0] // self.rows, self.rows, padded.shape[1] // self.columns, self.columns)
        blocks = padded.reshape(shape).transpose(0, 2, 1, 3)
        kept = blocks.any(axis=(2, 3))
        return Encoded(kept.reshape(-1), blocks[kept].reshape(-1))

    def decode(self, encoded: Encoded, shape: tuple[int, int]) -> Mask:
        """Block by block."""
        rows, columns = -(-shape[0] // self.rows), -(-shape[1] // self.columns)
        kept = encoded.index.reshape(rows, columns)
        blocks = np.zeros((rows, columns, self.rows, self.columns), dtype=np.bool_)
        blocks[kept] = encoded.values.reshape(-1, self.rows, self.columns)
        whole = blocks.transpose(0, 2, 1, 3).reshape(rows * self.rows, columns * self.columns)
        return whole[: shape[0], : shape[1]]
