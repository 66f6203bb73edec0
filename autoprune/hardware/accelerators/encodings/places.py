"""Encodings that write the place of each weight: coordinates, and compressed rows or columns with pointers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autoprune.hardware.accelerators.encodings.base import Encoded, Encoding, Mask
from autoprune.hardware.accelerators.encodings.bits import Reader, joined, numbers_as_bits, width_of

__all__ = ["Compressed", "Coordinates"]


@dataclass(frozen=True)
class Coordinates(Encoding):
    """Row and column of each weight (COO), in as many bits as the matrix needs."""

    name: ClassVar[str] = "coordinates"

    def _encode(self, mask: Mask) -> Encoded:
        row, column = np.nonzero(mask)
        wide, narrow = width_of(mask.shape[0]), width_of(mask.shape[1])
        places = (row << narrow) | column
        return Encoded(numbers_as_bits(places, wide + narrow), np.ones(len(row), dtype=np.bool_))

    def decode(self, encoded: Encoded, shape: tuple[int, int]) -> Mask:
        """Weight by weight."""
        wide, narrow = width_of(shape[0]), width_of(shape[1])
        places = Reader(encoded.index).numbers(len(encoded.values), wide + narrow)
        mask = np.zeros(shape, dtype=np.bool_)
        mask[places >> narrow, places & ((1 << narrow) - 1)] = True
        return mask


@dataclass(frozen=True)
class Compressed(Encoding):
    """Compressed sparse rows (CSR) or columns (CSC): the place of each weight in its line, and where lines begin.

    Attributes:
        columns: Whether lines are columns.
    """

    columns: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]  # one class, two names
        """CSR or CSC."""
        return "CSC" if self.columns else "CSR"

    def _encode(self, mask: Mask) -> Encoded:
        lines = mask.T if self.columns else mask
        place = np.nonzero(lines)[1]
        begins = np.concatenate([[0], np.cumsum(lines.sum(axis=1))])
        pointers = numbers_as_bits(begins, self._pointer_bits(mask.shape))
        index = joined(pointers, numbers_as_bits(place, width_of(lines.shape[1])))
        return Encoded(index, np.ones(len(place), dtype=np.bool_))

    @staticmethod
    def _pointer_bits(shape: tuple[int, ...]) -> int:
        """Of a number of weights, from 0 to all."""
        return width_of(shape[0] * shape[1] + 1)

    def decode(self, encoded: Encoded, shape: tuple[int, int]) -> Mask:
        """Line by line."""
        lines = shape[::-1] if self.columns else shape
        reader = Reader(encoded.index)
        begins = reader.numbers(lines[0] + 1, self._pointer_bits(shape))
        place = reader.numbers(len(encoded.values), width_of(lines[1]))
        mask = np.zeros(lines, dtype=np.bool_)
        mask[np.repeat(np.arange(lines[0]), np.diff(begins)), place] = True
        return mask.T.copy() if self.columns else mask
