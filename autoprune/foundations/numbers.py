"""How numbers are written for people: counts with their prefix, milliseconds, percentages."""

from __future__ import annotations

__all__ = ["MINUS", "NONE", "count", "milliseconds", "percent", "points"]

MINUS = "\N{MINUS SIGN}"
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


def percent(fraction: float | None, digits: int = 2) -> str:
    """A fraction as a percentage: 0.9192 -> `91.92 %`."""
    return NONE if fraction is None else f"{100 * fraction:.{digits}f} %"


def points(difference: float | None) -> str:
    """A difference of fractions in percentage points, with its sign: -0.0084 -> `-0.84` (a real minus sign)."""
    if difference is None:
        return NONE
    text = f"{100 * difference:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", MINUS)
