"""Encodings of patterns with the same number of weights in every part: no pointers, a place in few bits each."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from autoprune.hardware.accelerators.encodings.base import Encoded, Encoding, Mask
from autoprune.hardware.accelerators.encodings.bits import Reader, numbers_as_bits, width_of
from autoprune.hardware.accelerators.templates.slices import dealt

__all__ = ["BankBalanced", "ColumnBalanced", "FixedCount", "OfM"]


@dataclass(frozen=True)
class FixedCount(Encoding):
    """Parts of one size that store `count` places each; a part with fewer weights fills up with zeros.

    Attributes:
        count: Places of a part.
    """

    count: int

    @abstractmethod
    def _parts(self, mask: Mask) -> NDArray[np.bool_]:
        """The mask as (parts, places of a part), filled up with zeros."""

    @abstractmethod
    def _mask(self, parts: NDArray[np.bool_], shape: tuple[int, int]) -> Mask:
        """The inverse of `_parts`."""

    def why_not(self, mask: Mask) -> str | None:
        """A part has more weights than places, or no room for them."""
        parts = self._parts(mask)
        if self.count > parts.shape[1]:
            return f"parts of {parts.shape[1]} weights have no {self.count} places"
        most = int(parts.sum(axis=1).max(initial=0))
        return f"a part keeps {most} weights, and {self.count} are stored" if most > self.count else None

    def _encode(self, mask: Mask) -> Encoded:
        parts = self._parts(mask)
        order = np.argsort(~parts, axis=1, kind="stable")[:, : self.count]  # weights first, in order
        values = np.take_along_axis(parts, order, axis=1)
        return Encoded(numbers_as_bits(order, width_of(parts.shape[1])), values.reshape(-1))

    def decode(self, encoded: Encoded, shape: tuple[int, int]) -> Mask:
        """Part by part."""
        empty = self._parts(np.zeros(shape, dtype=np.bool_))
        order = Reader(encoded.index).numbers(len(encoded.values), width_of(empty.shape[1]))
        parts = np.zeros_like(empty)
        np.put_along_axis(parts, order.reshape(-1, self.count), encoded.values.reshape(-1, self.count), axis=1)
        return self._mask(parts, shape)


@dataclass(frozen=True)
class OfM(FixedCount):
    """N:M: of each `m` neighbouring inputs `count` are stored, in ceil(log2 m) bits.

    Attributes:
        m: Inputs of a part.
    """

    m: int = 4
    name: ClassVar[str] = "N:M"

    def _parts(self, mask: Mask) -> NDArray[np.bool_]:
        return np.pad(mask, ((0, 0), (0, -mask.shape[1] % self.m))).reshape(-1, self.m)

    def _mask(self, parts: NDArray[np.bool_], shape: tuple[int, int]) -> Mask:
        return parts.reshape(shape[0], -1)[:, : shape[1]]


@dataclass(frozen=True)
class BankBalanced(FixedCount):
    """Banks of a row (CSB of Balanced Sparsity): a place within the bank.

    Attributes:
        banks: Banks of a row.
    """

    banks: int = 4
    name: ClassVar[str] = "bank-balanced"

    def _parts(self, mask: Mask) -> NDArray[np.bool_]:
        padded = np.pad(mask, ((0, 0), (0, -mask.shape[1] % self.banks)))
        return padded.reshape(-1, padded.shape[1] // self.banks)

    def _mask(self, parts: NDArray[np.bool_], shape: tuple[int, int]) -> Mask:
        return parts.reshape(shape[0], -1)[:, : shape[1]]


@dataclass(frozen=True)
class ColumnBalanced(FixedCount):
    """Slices of a PE and a column (CBCSC of Spartus): a place within the slice.

    Attributes:
        pes: PEs over which rows are dealt.
    """

    pes: int = 64
    name: ClassVar[str] = "column-balanced"

    def _parts(self, mask: Mask) -> NDArray[np.bool_]:
        slices = dealt(mask, self.pes)  # rows of a PE, columns, PEs
        return slices.transpose(2, 1, 0).reshape(-1, slices.shape[0])

    def _mask(self, parts: NDArray[np.bool_], shape: tuple[int, int]) -> Mask:
        slices = parts.reshape(self.pes, shape[1], -1)
        return slices.transpose(2, 0, 1).reshape(-1, shape[1])[: shape[0]]
