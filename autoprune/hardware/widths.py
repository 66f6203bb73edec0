"""Which widths a decision may take on a target."""

from __future__ import annotations

from autoprune.errors import InputError
from autoprune.hardware.base import Target

__all__ = ["MOST_OPTIONS", "grid", "options"]

MOST_OPTIONS = 16


def grid(target: Target, granularity: int | None = None) -> int:
    """Units in which widths are counted on a target.

    Args:
        target: The runtime; its own granule is the one whose multiples no other width dominates when the units are
            both the outputs of one layer and the inputs of the next.
        granularity: What the user asked for instead, or None.

    Raises:
        InputError: If the granularity is below 1.
    """
    if granularity is not None and granularity < 1:
        raise InputError(f"the granularity must be at least 1 unit, not {granularity}")
    return granularity or target.granule


def options(width: int, target: Target, granularity: int | None = None, most: int = MOST_OPTIONS) -> tuple[int, ...]:
    """The allowed numbers of kept units of a decision, ascending; the last is `width`.

    Multiples of the granule, at least one of it, never above the width. More than `most` of them are thinned by
    doubling the granule, which keeps widths aligned to what the runtime likes. A width below one granule has no
    other option than itself; a finer granularity opens it.

    Args:
        width: Units of the dense network, at least 1.
        target: Where the network will run.
        granularity: A granule to use instead of the target's own.
        most: Most options, at least 2.

    Raises:
        InputError: If the width or the granularity is below 1, or `most` below 2.

    >>> from autoprune.hardware import get_target
    >>> options(18, get_target("onnxruntime"))
    (4, 8, 12, 16, 18)
    """
    if width < 1:
        raise InputError(f"a decision has at least 1 unit, not {width}")
    if most < 2:
        raise InputError(f"a decision needs room for at least 2 options, not {most}")
    step = grid(target, granularity)
    while -(-width // step) > most:
        step *= 2
    return (*range(step, width, step), width)
