"""How numbers are written for people: counts with their prefix, milliseconds."""

from __future__ import annotations

__all__ = ["NONE", "count", "milliseconds"]

NONE = "\N{EN DASH}"  # for what was not measured

_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def milliseconds(value: float | None) -> str:
    """Milliseconds with three significant digits, without the unit: 0.36123 -> `0.361`, 1234.5 -> `1234`."""
    if value is None:
        return NONE
    magnitude = abs(value)
    digits = 3 if magnitude < 1 else 2 if magnitude < 10 else 1 if magnitude < 100 else 0
    return f"{value:.{digits}f}"


def count(value: float | None) -> str:
    """A number of operations or parameters: 40551360 -> `40.6 M`, 9e6 -> `9.00 M`, 512 -> `512`."""
    if value is None:
        return NONE
    for size, letter in _SI:
        if abs(value) >= 0.9995 * size:
            amount = value / size
            digits = 2 if abs(amount) < 9.995 else 1 if abs(amount) < 99.95 else 0
            return f"{amount:.{digits}f} {letter}"
    return f"{value:.4g}"
