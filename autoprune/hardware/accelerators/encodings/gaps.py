"""Encodings that count the zeros before each weight: run length over the whole matrix, relative with pointers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from autoprune.hardware.accelerators.encodings.base import Encoded, Encoding, Mask
from autoprune.hardware.accelerators.encodings.bits import Bits, Reader, joined, numbers_as_bits
from autoprune.hardware.accelerators.templates.slices import dealt

__all__ = ["Relative", "RunLength"]

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Counted:
    """Lines of places as counts of zeros.

    Attributes:
        counts: Of every entry, line by line.
        values: False for an entry that only carries a gap: after the longest count comes a zero.
        entries: Entries of each line.
    """

    counts: Numbers
    values: NDArray[np.bool_]
    entries: Numbers

    @classmethod
    def of(cls, lines: NDArray[np.bool_], bits: int) -> _Counted:
        """Count (lines, places); what lies behind a line's last weight is not stored."""
        span = 2**bits
        line, place = np.nonzero(lines)
        before = np.concatenate([[-1], place[:-1]])[: len(place)]
        before[np.diff(line, prepend=-1) != 0] = -1
        gaps = place - before - 1
        carries = gaps // span
        counts = np.full(int(carries.sum()) + len(gaps), span - 1, dtype=np.int64)
        ends = np.cumsum(carries + 1) - 1
        counts[ends] = gaps % span
        values = np.zeros(len(counts), dtype=np.bool_)
        values[ends] = True
        entries = np.bincount(line, carries + 1, minlength=len(lines)).astype(np.int64)
        return cls(counts, values, entries)

    def lines(self, places: int) -> NDArray[np.bool_]:
        """The inverse of `of`: (lines, places)."""
        line = np.repeat(np.arange(len(self.entries)), self.entries)
        behind = np.cumsum(self.counts + 1)
        starts = np.cumsum(self.entries) - self.entries
        base = np.concatenate([[0], behind])[starts]
        found = np.zeros((len(self.entries), places), dtype=np.bool_)
        at = behind - 1 - base[line]
        found[line[self.values], at[self.values]] = True
        return found


@dataclass(frozen=True)
class RunLength(Encoding):
    """The zeros before each weight along the whole matrix, row by row.

    Attributes:
        count_bits: Bits of a count; after the longest a zero is stored as a value, too.
    """

    count_bits: int = 4
    name: ClassVar[str] = "run length"

    def _encode(self, mask: Mask) -> Encoded:
        counted = _Counted.of(mask.reshape(1, -1), self.count_bits)
        return Encoded(numbers_as_bits(counted.counts, self.count_bits), counted.values)

    def decode(self, encoded: Encoded, shape: tuple[int, int]) -> Mask:
        """Counts up to the last weight."""
        counts = Reader(encoded.index).numbers(len(encoded.values), self.count_bits)
        entries = np.array([len(counts)], dtype=np.int64)
        return _Counted(counts, encoded.values, entries).lines(shape[0] * shape[1]).reshape(shape)


@dataclass(frozen=True)
class Relative(Encoding):
    """EIE's: rows dealt over PEs, and in every slice of a PE and a column the zeros before each weight.

    A PE's slices lie one behind the other, and a pointer says where each begins.

    Attributes:
        count_bits: Bits of a count; a longer gap costs an entry of value 0 for each 2 ** b zeros.
        pes: PEs over which rows are dealt.
        pointer_bits: Bits of a pointer, one a slice and one behind a PE's last.
    """

    count_bits: int = 4
    pes: int = 64
    pointer_bits: int = 16
    name: ClassVar[str] = "relative"

    def _counted(self, mask: Mask) -> _Counted:
        slices = dealt(mask, self.pes).transpose(2, 1, 0)  # PEs, columns, rows of a PE
        return _Counted.of(slices.reshape(-1, slices.shape[2]), self.count_bits)

    def why_not(self, mask: Mask) -> str | None:
        """A PE has more entries than a pointer can count."""
        most = int(self._counted(mask).entries.reshape(self.pes, -1).sum(axis=1).max(initial=0))
        reach = 2**self.pointer_bits - 1
        return (
            f"a PE has {most} entries, and pointers of {self.pointer_bits} bits reach {reach}" if most > reach else None
        )

    def _encode(self, mask: Mask) -> Encoded:
        counted = self._counted(mask)
        return Encoded(
            joined(self._pointers(counted.entries), numbers_as_bits(counted.counts, self.count_bits)), counted.values
        )

    def _pointers(self, entries: Numbers) -> Bits:
        ends = np.cumsum(entries.reshape(self.pes, -1), axis=1)
        return numbers_as_bits(np.pad(ends, ((0, 0), (1, 0))), self.pointer_bits)

    def decode(self, encoded: Encoded, shape: tuple[int, int]) -> Mask:
        """Slice by slice."""
        reader = Reader(encoded.index)
        pointers = reader.numbers(self.pes * (shape[1] + 1), self.pointer_bits).reshape(self.pes, -1)
        counts = reader.numbers(len(encoded.values), self.count_bits)
        entries = np.diff(pointers, axis=1).reshape(-1)
        rows = -(-shape[0] // self.pes)
        slices = _Counted(counts, encoded.values, entries).lines(rows).reshape(self.pes, shape[1], rows)
        return slices.transpose(2, 0, 1).reshape(rows * self.pes, shape[1])[: shape[0]]
