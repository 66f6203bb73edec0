"""Which widths a decision may take on a target."""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from autoprune.errors import InputError
from autoprune.hardware.contract.target import Target

__all__ = ["MOST_OPTIONS", "Grid", "grid", "grid_of", "options"]

MOST_OPTIONS = 16
_FEW_OPTIONS = 4  # fewer of them, and a narrow layer could hardly be pruned: its granule is halved


class Grid(NamedTuple):
    """How widths are counted on a target, in channels.

    Attributes:
        granule: Widths are multiples of this.
        least: Where a decision would have less than four options, its granule is halved, down to this.
    """

    granule: int
    least: int

    def __str__(self) -> str:
        return str(self.granule) if self.granule == self.least else f"{self.granule}-{self.least}"

    @classmethod
    def from_json(cls, value: object) -> Grid:
        """What a run noted: [granule, least], or one number for both.

        Raises:
            InputError: If it is neither.
        """
        pair = value if isinstance(value, list) else [value, value]
        whole = [each for each in pair if type(each) is int]
        if len(pair) != 2 or len(whole) != 2 or not 1 <= whole[1] <= whole[0]:
            raise InputError(f"{value!r:.40} is no grid of widths")
        return cls(*whole)


def grid_of(target: Target | None, granularity: int | Grid | None = None) -> Grid:
    """The grid of widths of a target.

    Args:
        target: The runtime. It is probed, once a machine: its granule is the one whose multiples no other width
            dominates when the units are both the outputs of one layer and the inputs of the next. Narrow layers go
            down to the granule that its class names. None has a granule of 1.
        granularity: What the user asked for instead, in channels, or None.

    Raises:
        InputError: If the granularity is below 1.
    """
    if isinstance(granularity, Grid):
        return granularity
    if granularity is not None:
        if granularity < 1:
            raise InputError(f"the granularity must be at least 1 channel, not {granularity}")
        return Grid(granularity, granularity)
    if target is None:
        return Grid(1, 1)
    from autoprune.hardware.grid.probing import probe

    found = probe(target).granule
    return Grid(found, min(found, target.granule))


def grid(target: Target | None, granularity: int | Grid | None = None, positions: int = 1) -> int:
    """Units in which widths are counted on a target.

    A granule counts channels. Where a unit is several of them (one from each group of a grouped convolution), fewer
    units make up whole granules: the least number of units whose channels are a multiple of the granule.

    Args:
        target: The runtime; see `grid_of`.
        granularity: What the user asked for instead, in channels, or None.
        positions: Channels of one unit.

    Raises:
        InputError: If the granularity is below 1.
    """
    granule = grid_of(target, granularity).granule
    return granule // gcd(granule, positions)


def options(
    width: int,
    target: Target | None,
    granularity: int | Grid | None = None,
    most: int | None = MOST_OPTIONS,
    *,
    positions: int = 1,
) -> tuple[int, ...]:
    """The allowed numbers of kept units of a decision, ascending; the last is `width`.

    Multiples of the granule, at least one of it, never above the width. More than `most` of them are thinned by
    doubling the granule, which keeps widths aligned to what the runtime likes; less than four are made more by
    halving it, as far as the grid allows. A width below one granule has no other option than itself; a finer
    granularity opens it.

    Args:
        width: Units of the dense network, at least 1.
        target: Where the network will run; None if that does not matter.
        granularity: A granule to use instead of the target's own, in channels, or a grid.
        most: Most options, at least 2; None for no bound.
        positions: Channels of one unit; see `grid`.

    Raises:
        InputError: If the width or the granularity is below 1, or `most` below 2.

    >>> from autoprune.hardware import get_target
    >>> options(18, get_target("onnxruntime"), 4)
    (4, 8, 12, 16, 18)
    >>> options(64, None, Grid(16, 4)), options(16, None, Grid(16, 4))
    ((16, 32, 48, 64), (4, 8, 12, 16))
    """
    if width < 1:
        raise InputError(f"a decision has at least 1 unit, not {width}")
    if most is not None and most < 2:
        raise InputError(f"a decision needs room for at least 2 options, not {most}")
    granule, least = grid_of(target, granularity)
    while granule > least and -(-width * positions // granule) < _FEW_OPTIONS:
        granule = max(granule // 2, least)
    step = granule // gcd(granule, positions)
    while most is not None and -(-width // step) > most:
        step *= 2
    return (*range(step, width, step), width)
