"""Bits of index for each weight that encodings of unstructured random masks come to, by formula.

Of masks whose weights stay independently with density d; q = 1 - d.
"""

from __future__ import annotations

import math

__all__ = ["bitmap_bits", "padding_share", "relative_bits", "smallest_density_of_bitmap"]


def bitmap_bits(density: float) -> float:
    """One bit a place: 1 / d."""
    return 1 / density


def padding_share(density: float, count_bits: int, rows: float = math.inf) -> float:
    """Padding entries for each weight: sum over k of q^(k s) (1 - k s / L), with s = 2 ** bits.

    Args:
        density: Of the weights.
        count_bits: Bits of a count of zeros.
        rows: L, places of a slice; infinite for one line.

    >>> round(padding_share(0.04, 4, 64), 2)
    0.56
    """
    q, span, total, k = 1 - density, 2**count_bits, 0.0, 1
    while k * span < rows and (part := q ** (k * span)) > 1e-12:
        total += part * (1 - k * span / rows)
        k += 1
    return total


def relative_bits(density: float, count_bits: int, value_bits: int, rows: float = math.inf) -> float:
    """A count for each entry, and the values of padding entries; without pointers."""
    padding = padding_share(density, count_bits, rows)
    return count_bits * (1 + padding) + value_bits * padding


def smallest_density_of_bitmap(count_bits: int, value_bits: int, rows: float = math.inf) -> float:
    """The density above which a bitmap is smaller than a relative index, by bisection."""
    low, high = 1e-3, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if bitmap_bits(middle) > relative_bits(middle, count_bits, value_bits, rows):
            low = middle
        else:
            high = middle
    return low
