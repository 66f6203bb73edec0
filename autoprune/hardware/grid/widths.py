"""Which widths a decision may take on a target."""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from autoprune.errors import InputError
from autoprune.hardware.contract.target import Target
from autoprune.hardware.grid.probing import known, probe

__all__ = ["MOST_OPTIONS", "Grid", "unit_step", "width_options"]

MOST_OPTIONS = 16
_FEW_OPTIONS = 4  # fewer of them, and a narrow layer could hardly be pruned: its channel multiple is halved


class Grid(NamedTuple):
    """How widths are counted on a target, in channels.

    Attributes:
        multiple: Widths are multiples of this.
        least: Where a decision would have less than four options, the multiple is halved, down to this.
    """

    multiple: int
    least: int

    def __str__(self) -> str:
        return str(self.multiple) if self.multiple == self.least else f"{self.multiple}-{self.least}"

    @classmethod
    def of(cls, target: Target | None, granularity: int | Grid | None = None) -> Grid:
        """The grid of widths of a target.

        Args:
            target: The runtime. It is probed, once a machine: its channel multiple is the one whose multiples no other
                width dominates when the units are both the outputs of one layer and the inputs of the next. Narrow
                layers go down to the multiple that its class names. None has a channel multiple of 1.
            granularity: What the user asked for instead, in channels, or None.

        Raises:
            InputError: If the granularity is below 1.
        """
        if isinstance(granularity, Grid):
            return granularity
        if granularity is not None:
            if granularity < 1:
                raise InputError(f"the granularity must be at least 1 channel, not {granularity}")
            return cls(granularity, granularity)
        if target is None:
            return cls(1, 1)
        return cls._suiting(target, probe(target).channel_multiple)

    @classmethod
    def expected(cls, target: Target) -> Grid:
        """The grid that `of` would give, without measuring: of a machine that was not probed yet, the class's own."""
        found = known(target)
        return cls._suiting(target, target.channel_multiple if found is None else found.channel_multiple)

    @classmethod
    def _suiting(cls, target: Target, multiple: int) -> Grid:
        return cls(multiple, min(multiple, target.channel_multiple))

    @classmethod
    def from_json(cls, value: object) -> Grid:
        """What a run stored: [multiple, least], or one number for both.

        Raises:
            InputError: If it is neither.
        """
        pair = value if isinstance(value, list) else [value, value]
        whole = [each for each in pair if type(each) is int]
        if len(pair) != 2 or len(whole) != 2 or not 1 <= whole[1] <= whole[0]:
            raise InputError(f"{value!r:.40} is no grid of widths")
        return cls(*whole)


def unit_step(target: Target | None, granularity: int | Grid | None = None, positions: int = 1) -> int:
    """The step, in units, between the widths of a decision on a target.

    A channel multiple counts channels. Where a unit is several of them (one from each group of a grouped convolution),
    fewer units make up a multiple: the step is the least number of units whose channels are a multiple.

    Args:
        target: The runtime; see `Grid.of`.
        granularity: What the user asked for instead, in channels, or None.
        positions: Channels of one unit.

    Raises:
        InputError: If the granularity is below 1.
    """
    return _units(Grid.of(target, granularity).multiple, positions)


def width_options(
    width: int,
    target: Target | None,
    granularity: int | Grid | None = None,
    most: int | None = MOST_OPTIONS,
    *,
    positions: int = 1,
) -> tuple[int, ...]:
    """The allowed numbers of kept units of a decision, ascending; the last is `width`.

    Multiples of the channel multiple, at least one of it, never above the width. More than `most` of them are thinned
    by doubling the step, which keeps widths aligned to what the runtime likes; less than four are made more by halving
    the multiple, as far as the grid allows. A width below one multiple has no other option than itself; a finer
    granularity opens it.

    Args:
        width: Units of the dense network, at least 1.
        target: Where the network will run; None if that does not matter.
        granularity: A channel multiple to use instead of the target's own, or a grid.
        most: Most options, at least 2; None for no bound.
        positions: Channels of one unit; see `unit_step`.

    Raises:
        InputError: If the width or the granularity is below 1, or `most` below 2.

    >>> from autoprune.hardware import get_target
    >>> width_options(18, get_target("onnxruntime"), 4)
    (4, 8, 12, 16, 18)
    >>> width_options(64, None, Grid(16, 4)), width_options(16, None, Grid(16, 4))
    ((16, 32, 48, 64), (4, 8, 12, 16))
    """
    if width < 1:
        raise InputError(f"a decision has at least 1 unit, not {width}")
    if most is not None and most < 2:
        raise InputError(f"a decision needs room for at least 2 options, not {most}")
    multiple, least = Grid.of(target, granularity)
    while multiple > least and -(-width * positions // multiple) < _FEW_OPTIONS:
        multiple = max(multiple // 2, least)
    step = _units(multiple, positions)
    while most is not None and -(-width // step) > most:
        step *= 2
    return (*range(step, width, step), width)


def _units(multiple: int, positions: int) -> int:
    """The least number of units whose channels are a multiple of so many."""
    return multiple // gcd(multiple, positions)
