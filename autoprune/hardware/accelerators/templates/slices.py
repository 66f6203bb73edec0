"""A matrix dealt to processing elements, as entries of a relative index: the slices of every PE and column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Slices", "dealt", "slices_of"]

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Slices:
    """How many entries each PE stores of each column.

    Attributes:
        useful: Weights that stay, (columns, PEs).
        padding: Entries of value 0 that only carry a gap too long for one index, (columns, PEs).
    """

    useful: Counts
    padding: Counts

    @property
    def entries(self) -> Counts:
        """All entries, (columns, PEs)."""
        return self.useful + self.padding


def dealt(mask: NDArray[np.bool_], pes: int) -> NDArray[np.bool_]:
    """A matrix with row i given to PE i mod `pes`: (rows of a PE, columns, PEs); missing rows are zeros."""
    outputs, inputs = mask.shape
    rows = -(-outputs // pes)
    padded = np.zeros((rows * pes, inputs), dtype=np.bool_)
    padded[:outputs] = mask
    return padded.reshape(rows, pes, inputs).transpose(0, 2, 1)


def slices_of(mask: NDArray[np.bool_], pes: int, longest_gap: int, *, bias: bool = False) -> Slices:
    """The entries of a matrix under a relative index.

    An entry says how many zeros lie before it in its slice, up to `longest_gap`. A longer gap costs an entry of value 0
    for every `longest_gap + 1` zeros; zeros behind the last weight of a slice are not stored.

    Args:
        mask: (outputs, inputs), true where a weight stays.
        pes: Processing elements.
        longest_gap: Zeros that one index can count.
        bias: Whether there is one more column, full.
    """
    per_pe = dealt(mask, pes)
    gap = np.zeros(per_pe.shape[1:], dtype=np.int64)
    padding = np.zeros_like(gap)
    for kept in per_pe:
        padding += np.where(kept, gap // (longest_gap + 1), 0)
        gap = np.where(kept, 0, gap + 1)
    useful = per_pe.sum(axis=0, dtype=np.int64)
    if not bias:
        return Slices(useful, padding)
    full = dealt(np.ones((len(mask), 1), dtype=np.bool_), pes).sum(axis=0, dtype=np.int64)
    return Slices(np.concatenate([useful, full]), np.concatenate([padding, np.zeros_like(full)]))
