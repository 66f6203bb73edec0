"""Prices that are products of widths: multiply-accumulates, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from autoprune.graph import Extent

__all__ = ["ProductPrice", "product_price"]

Size = Extent | int


@dataclass(frozen=True)
class ProductPrice:
    """A factor times the product of sizes that follow decisions; exact in whole numbers, picklable.

    Attributes:
        factor: All dimensions that no decision changes, multiplied.
        sizes: Every other dimension.
        scope: Names of the columns of the kept units.
        gates: How many of the last columns are blocks: without one of them nothing is left to pay for.
    """

    factor: int
    sizes: tuple[Extent, ...] = ()
    scope: tuple[str, ...] = ()
    gates: int = 0

    def __call__(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kept units, shape (n, len(scope)), to costs, shape (n,)."""
        total = np.full(len(kept), self.factor, dtype=np.int64)
        for size in self.sizes:
            total *= size.columns(kept, self.scope)
        total *= (kept[:, kept.shape[1] - self.gates :] > 0).all(axis=1)
        return total.astype(np.float64)


def product_price(
    dimensions: Sequence[Size], decided: Sequence[str], fixed: Mapping[str, int], blocks: Sequence[str] = ()
) -> tuple[tuple[str, ...], ProductPrice]:
    """The price of a product of dimensions, and the decisions that it depends on.

    Args:
        dimensions: Sizes as functions of the groups' widths.
        decided: Names of the decisions.
        fixed: Widths of the groups that are no decisions.
        blocks: The blocks that take the product with them; those that are no decisions stay.
    """
    sizes = [dimension.fixing(fixed) for dimension in dimensions if isinstance(dimension, Extent)]
    varying = tuple(size for size in sizes if size.terms)
    factor = prod(dimension for dimension in dimensions if isinstance(dimension, int))
    factor *= prod(size.constant for size in sizes if not size.terms)
    gates = tuple(name for name in blocks if name in decided)
    scope = (*dict.fromkeys(name for size in varying for name in size.scope), *gates)
    return scope, ProductPrice(factor, varying, scope, len(gates))
