"""Prices that are products of widths: multiply-accumulates, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.graph import Extent

__all__ = ["ProductPrice", "product_price"]

Size = Extent | int


@dataclass(frozen=True)
class ProductPrice:
    """factor * product over dimensions of (constant + sum(multiple * kept)); exact in whole numbers, picklable.

    Attributes:
        factor: All dimensions that no decision changes, multiplied.
        constants: Constant part of every other dimension, shape (dimensions,).
        multiples: Positions per kept unit, shape (dimensions, len(scope)).
        gates: How many of the last columns are blocks: without one of them nothing is left to pay for.
    """

    factor: int
    constants: tuple[int, ...]
    multiples: tuple[tuple[int, ...], ...]
    gates: int = 0

    def __call__(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kept units, shape (n, len(scope)), to costs, shape (n,)."""
        total = np.full(len(kept), self.factor, dtype=np.int64)
        for constant, multiples in zip(self.constants, self.multiples, strict=True):
            total *= constant + kept @ np.asarray(multiples, dtype=np.int64)
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
    known = set(decided)
    varying = [d for d in dimensions if isinstance(d, Extent) and any(name in known for name, _ in d.terms)]
    scope = tuple(dict.fromkeys(name for d in varying for name, _ in d.terms if name in known))
    factor = 1
    for dimension in dimensions:
        if isinstance(dimension, int):
            factor *= dimension
        elif dimension not in varying:
            factor *= dimension(fixed)
    constants = tuple(d.constant + sum(m * fixed[name] for name, m in d.terms if name not in known) for d in varying)
    gates = tuple(name for name in blocks if name in known)
    scope += gates
    rows = tuple(tuple(sum(m for name, m in d.terms if name == column) for column in scope) for d in varying)
    return scope, ProductPrice(factor, constants, rows, len(gates))
