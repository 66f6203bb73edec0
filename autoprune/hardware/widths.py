"""Which widths a decision may take on a target."""

from __future__ import annotations

from math import gcd

from autoprune.errors import InputError
from autoprune.hardware.base import Target

__all__ = ["MOST_OPTIONS", "grid", "options"]

MOST_OPTIONS = 16


def grid(target: Target | None, granularity: int | None = None, positions: int = 1) -> int:
    """Units in which widths are counted on a target.

    A granule counts channels. Where a unit is several of them (one from each group of a grouped convolution), fewer
    units make up whole granules: the least number of units whose channels are a multiple of the granule.

    Args:
        target: The runtime; its own granule is the one whose multiples no other width dominates when the units are
            both the outputs of one layer and the inputs of the next. None has a granule of 1.
        granularity: What the user asked for instead, in channels, or None.
        positions: Channels of one unit.

    Raises:
        InputError: If the granularity is below 1.
    """
    if granularity is not None and granularity < 1:
        raise InputError(f"the granularity must be at least 1 channel, not {granularity}")
    granule = granularity or (target.granule if target is not None else 1)
    return granule // gcd(granule, positions)


def options(
    width: int,
    target: Target | None,
    granularity: int | None = None,
    most: int | None = MOST_OPTIONS,
    *,
    positions: int = 1,
) -> tuple[int, ...]:
    """The allowed numbers of kept units of a decision, ascending; the last is `width`.

    Multiples of the granule, at least one of it, never above the width. More than `most` of them are thinned by
    doubling the granule, which keeps widths aligned to what the runtime likes. A width below one granule has no
    other option than itself; a finer granularity opens it.

    Args:
        width: Units of the dense network, at least 1.
        target: Where the network will run; None if that does not matter.
        granularity: A granule to use instead of the target's own, in channels.
        most: Most options, at least 2; None for no bound.
        positions: Channels of one unit; see `grid`.

    Raises:
        InputError: If the width or the granularity is below 1, or `most` below 2.

    >>> from autoprune.hardware import get_target
    >>> options(18, get_target("onnxruntime"))
    (4, 8, 12, 16, 18)
    """
    if width < 1:
        raise InputError(f"a decision has at least 1 unit, not {width}")
    if most is not None and most < 2:
        raise InputError(f"a decision needs room for at least 2 options, not {most}")
    step = grid(target, granularity, positions)
    while most is not None and -(-width // step) > most:
        step *= 2
    return (*range(step, width, step), width)
