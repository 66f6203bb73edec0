"""The sizes of tensors as functions of the groups' widths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Extent", "Shape", "count_of", "size_of"]


@dataclass(frozen=True)
class Extent:
    """The size of one tensor dimension as a function of the groups' widths.

    ``size = constant + sum(multiplicity * widths[group])``: a concat's channels have several terms, the columns
    of a linear layer behind a flatten have multiplicity H*W.

    Attributes:
        constant: Positions that no decision can remove.
        terms: (group name, positions per kept unit), in forward order.
        dense: The size with nothing pruned.
    """

    constant: int
    terms: tuple[tuple[str, int], ...]
    dense: int

    @property
    def scope(self) -> tuple[str, ...]:
        """The groups that the size depends on."""
        return tuple(name for name, _ in self.terms)

    def __call__(self, widths: Mapping[str, int]) -> int:
        """The size at ``widths`` (group name -> kept units; every group of ``terms`` must be there)."""
        return self.constant + sum(many * int(widths[name]) for name, many in self.terms)

    def columns(self, kept: NDArray[np.int64], scope: Sequence[str]) -> NDArray[np.int64]:
        """The size at many widths.

        Args:
            kept: Kept units, shape (n, len(scope)).
            scope: Names of the columns; a superset of the size's own scope.

        Returns:
            Sizes, shape (n,).
        """
        total = np.full(len(kept), self.constant, dtype=np.int64)
        for name, many in self.terms:
            total += many * kept[:, scope.index(name)]
        return total

    def fixing(self, widths: Mapping[str, int]) -> Extent:
        """The same size where some groups have a given width: their terms join the constant."""
        constant = self.constant + sum(many * widths[name] for name, many in self.terms if name in widths)
        return Extent(constant, tuple(term for term in self.terms if term[0] not in widths), self.dense)


Shape = tuple[Extent | int, ...]


def size_of(extent: Extent | int, widths: Mapping[str, int]) -> int:
    """The number of positions of one dimension at ``widths``."""
    return extent if isinstance(extent, int) else extent(widths)


def count_of(shape: Shape, widths: Mapping[str, int]) -> int:
    """The number of elements of a tensor of ``shape`` at ``widths``."""
    return math.prod(size_of(extent, widths) for extent in shape)
