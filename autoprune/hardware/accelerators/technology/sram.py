"""Energy and area of an SRAM, out of a table that CACTI 7 gave for 45 nm; interpolated between its points.

Joules and square millimetres of a table of one node are good for ratios between chips, not for a data sheet.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from autoprune.errors import InputError

__all__ = ["SOURCE", "Sram"]

SOURCE = "CACTI 7 at 45 nm, interpolated"

_NODE = 45  # nm

# At lines of 64 bits: KB, pJ a read, mm2.
_SIZES = (
    (2.0, 2.8, 0.0075),
    (8.0, 6.1, 0.026),
    (32.0, 17.0, 0.095),
    (64.0, 25.9, 0.209),
    (128.0, 32.3, 0.430),
    (512.0, 68.3, 1.64),
)
# Of 128 KB: bits of a line, pJ a read.
_WIDTHS = ((16.0, 21.4), (32.0, 25.3), (64.0, 32.3), (128.0, 50.3), (256.0, 73.8), (512.0, 97.8))
# Of 16 KB at lines of 16 bits: pJ a read, mm2. Narrow lines help a small memory less than they help a large one.
_SMALL, _SMALL_PJ, _SMALL_MM2 = 16.0, 7.7, 0.053


@dataclass(frozen=True)
class Sram:
    """One memory.

    Attributes:
        kb: Its size in KB of 1024 bytes; more than 0.
        line_bits: Bits of one access.
        node_nm: Technology; energy and area are scaled by the square of the node from 45 nm.

    Raises:
        InputError: If a size is no positive number.
    """

    kb: float
    line_bits: int = 64
    node_nm: float = _NODE

    def __post_init__(self) -> None:
        if not (0 < self.kb < math.inf and self.line_bits >= 1 and 0 < self.node_nm < math.inf):
            raise InputError(f"a memory has a size, lines and a node above 0, not {self}")

    @property
    def read_pj(self) -> float:
        """Picojoules of one access to a line."""
        return self._read_64() * self._width_factor() * self._scale

    @property
    def area_mm2(self) -> float:
        """Square millimetres."""
        return self._area_64() * self._narrowness(_SMALL_MM2 / Sram(_SMALL)._area_64()) * self._scale

    @property
    def _scale(self) -> float:
        return (self.node_nm / _NODE) ** 2

    def _read_64(self) -> float:
        return _interpolated([(kb, pj) for kb, pj, _ in _SIZES], self.kb)

    def _area_64(self) -> float:
        return _interpolated([(kb, area) for kb, _, area in _SIZES], self.kb)

    def _width_factor(self) -> float:
        """A line of `line_bits` against one of 64, for reading."""
        of_large = _interpolated(_WIDTHS, self.line_bits) / _interpolated(_WIDTHS, 64)
        small = _SMALL_PJ / Sram(_SMALL)._read_64() / (_WIDTHS[0][1] / _interpolated(_WIDTHS, 64))
        smallness = min(1.0, max(0.0, math.log(128 / self.kb) / math.log(128 / _SMALL)))
        return float(of_large * self._narrowness(small) ** smallness)

    def _narrowness(self, factor: float) -> float:
        """A factor known at 16 bits, which is 1 from 64 bits up."""
        return float(factor ** min(1.0, max(0.0, math.log(64 / self.line_bits) / math.log(4))))


def _interpolated(points: Sequence[tuple[float, float]], at: float) -> float:
    """A straight line between the logarithms of neighbouring points, carried on beyond the ends."""
    xs = [x for x, _ in points]
    place = min(max(bisect_left(xs, at), 1), len(points) - 1)
    (x0, y0), (x1, y1) = points[place - 1 : place + 1]
    return float(y0 * (at / x0) ** (math.log(y1 / y0) / math.log(x1 / x0)))
