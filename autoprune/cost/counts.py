"""Costs that are counts: products of tensor sizes, each of which follows the widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.graph import Extent, Shape

__all__ = ["Count", "scope_of"]


@dataclass(frozen=True)
class Count:
    """The number of elements of a tensor shape, times a factor; a `CostEntry.price`.

    Attributes:
        scope: Names of the groups whose widths are the columns of what it is called with.
        shape: The sizes; groups outside `scope` keep all their units.
        factor: What an element counts.
        dense: Dense width of every group that occurs in `shape`.
    """

    scope: tuple[str, ...]
    shape: Shape
    factor: int
    dense: Mapping[str, int]

    def __call__(self, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Counts of shape (n,) for kept units of shape (n, len(scope))."""
        columns = {name: widths[:, i].astype(np.float64) for i, name in enumerate(self.scope)}
        total = np.full(len(widths), float(self.factor))
        for extent in self.shape:
            if isinstance(extent, Extent):
                sizes = (many * columns.get(name, float(self.dense[name])) for name, many in extent.terms)
                total = total * (extent.constant + sum(sizes))
            else:
                total = total * extent
        return total


def scope_of(shape: Shape, names: tuple[str, ...]) -> tuple[str, ...]:
    """The decisions that a shape depends on, in the order of `names`."""
    used = {name for extent in shape if isinstance(extent, Extent) for name, _ in extent.terms}
    return tuple(name for name in names if name in used)
