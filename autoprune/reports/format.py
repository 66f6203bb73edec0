"""How figures are written for people; the same in tables, pages and progress lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = [
    "COST_NAMES",
    "MINUS",
    "NONE",
    "TIMES",
    "cost",
    "count",
    "duration",
    "flat",
    "milliseconds",
    "percent",
    "plain",
    "points",
    "share",
]

NONE = "\N{EN DASH}"  # in place of a figure that was not measured
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"

COST_NAMES = {
    "latency": "latency in ms",
    "flops": "multiply-accumulates",
    "params": "parameters",
    "energy": "energy in mJ",
    "accuracy_drop": "accuracy on the search split",
}

_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def percent(fraction: float | None, digits: int = 2) -> str:
    """A fraction as a percentage: 0.9192 -> `91.92 %`."""
    return NONE if fraction is None else f"{100 * fraction:.{digits}f} %"


def points(difference: float | None) -> str:
    """A difference of fractions in percentage points, with its sign: -0.0084 -> `-0.84` (a real minus sign)."""
    if difference is None:
        return NONE
    text = f"{100 * difference:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", MINUS)


def share(value: float | None, whole: float | None) -> str:
    """How much of `whole` a value is: `48 %`; a dash where either is missing or the whole is nothing."""
    if value is None or not whole:
        return NONE
    return f"{100 * value / whole:.0f} %"


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


def cost(value: float | None, kind: str | None) -> str:
    """A cost with its unit, by the budget's kind: `0.361 ms`, `20.3 M MACs`, `67.1 k parameters`, `1.24 mJ`.

    What a budget on a drop of accuracy limits is an accuracy, in percent.
    """
    if value is None:
        return NONE
    if kind == "latency":
        return f"{milliseconds(value)} ms"
    if kind == "energy":
        return f"{value:.4g} mJ"
    if kind == "accuracy_drop":
        return percent(value)
    unit = {"flops": " MACs", "params": " parameters"}.get(kind or "", "")
    return f"{count(value)}{unit}"


def duration(seconds: float | None) -> str:
    """A time span: 4.21 -> `4.2 s`, 200 -> `3:20 min`, 7300 -> `2:01 h`."""
    if seconds is None:
        return NONE
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def plain(value: object) -> str:
    """Any value of a settings file in one line."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or NONE
    return str(value)


def flat(content: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    """A nested mapping's leaves under dotted names, in order."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
