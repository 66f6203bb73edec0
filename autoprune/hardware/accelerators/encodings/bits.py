"""Numbers as bits, first bit highest, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Bits", "Reader", "joined", "numbers_as_bits", "width_of"]

Bits = NDArray[np.bool_]
"""What an encoding writes: one boolean a bit."""


def width_of(count: int) -> int:
    """Bits that tell `count` things apart; 0 for one thing.

    >>> [width_of(count) for count in (1, 2, 3, 4, 5, 256)]
    [0, 1, 2, 2, 3, 8]
    """
    return max(0, count - 1).bit_length()


def numbers_as_bits(numbers: ArrayLike, width: int) -> Bits:
    """Whole numbers from 0 below 2 ** width, one behind the other: (numbers * width,)."""
    values = np.asarray(numbers, dtype=np.int64).reshape(-1)
    bits: Bits = (values[:, None] >> np.arange(width - 1, -1, -1)) & 1 == 1
    return bits.reshape(-1)


def joined(*parts: Bits) -> Bits:
    """Bits one behind the other."""
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.bool_)


class Reader:
    """Takes numbers off the front of bits."""

    def __init__(self, bits: Bits) -> None:
        self._bits, self._at = bits, 0

    def numbers(self, count: int, width: int) -> NDArray[np.int64]:
        """The next `count` numbers of `width` bits."""
        part = self._bits[self._at : self._at + count * width].reshape(count, width)
        self._at += count * width
        return part.astype(np.int64) @ (1 << np.arange(width - 1, -1, -1, dtype=np.int64))

    def number(self, width: int) -> int:
        """The next number of `width` bits."""
        return int(self.numbers(1, width)[0])

    @property
    def left(self) -> int:
        """Bits that were not read."""
        return len(self._bits) - self._at
