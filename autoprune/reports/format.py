"""How figures are written for people; the same in tables, pages and progress lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autoprune.cost.metrics import METRICS, metric_of
from autoprune.foundations.numbers import MINUS, NONE, count, milliseconds, percent, points
from autoprune.run.report import SEVERAL
from autoprune.run.score import ACCURACY, ScoreSpec

__all__ = [
    "MINUS",
    "NONE",
    "TIMES",
    "cost",
    "cost_name",
    "count",
    "duration",
    "flat",
    "has_prefixes",
    "how_by_default",
    "is_metered",
    "milliseconds",
    "percent",
    "plain",
    "points",
    "reasons_in_lines",
    "share",
]

TIMES = "\N{MULTIPLICATION SIGN}"

_ACCURACY_DROP = "accuracy_drop"  # no metric: what a bisection by accuracy limits, a fraction
_LABELS = {SEVERAL: "share of the tightest budget"}  # no metric either


def share(value: float | None, whole: float | None) -> str:
    """How much of `whole` a value is: `48 %`; a dash where either is missing or the whole is nothing."""
    if value is None or not whole:
        return NONE
    return f"{100 * value / whole:.0f} %"


def cost(value: float | None, kind: str | None, spec: ScoreSpec = ACCURACY) -> str:
    """A cost with its unit, by the budget's kind: `0.361 ms`, `20.3 M MACs`, `67.1 k parameters`, `1.24 mJ`.

    What a budget on a drop of accuracy limits is an accuracy, in percent, or another score. A kind that is not
    installed here has no unit.
    """
    if value is None:
        return NONE
    if kind == _ACCURACY_DROP:
        return spec.text(value)
    return metric_of(kind).text(value) if kind in METRICS and kind is not None else count(value)


def cost_name(kind: str, spec: ScoreSpec = ACCURACY) -> str:
    """What a budget of a kind limits, with its unit: `latency in ms`; the kind itself if it is not installed here."""
    if kind == _ACCURACY_DROP:
        return f"{spec.name} on the search split"
    return metric_of(kind).label if kind in METRICS else _LABELS.get(kind, kind)


def has_prefixes(kind: str) -> bool:
    """Whether large costs of a kind are written with k, M, G."""
    return metric_of(kind).prefixes if kind in METRICS else True


def is_metered(kind: str) -> bool:
    """Whether a budget of a kind has the device's counter of energy read."""
    return metric_of(kind).metered if kind in METRICS else False


def how_by_default(kind: str) -> str:
    """How costs of a kind are known where nothing else is said: `measured`, `counted` or `modelled`."""
    return metric_of(kind).how if kind in METRICS else "counted"


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


def reasons_in_lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why layers run dense, those of one reason in one line; of layers that were measured the figures say it.

    Args:
        rows: Each with `name`, `reason`, and `ratio` where it was measured.

    >>> reasons_in_lines([{"name": each, "reason": "too small"} for each in "abc"])
    ['a, b and 1 more: too small']
    """
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["reason"] and row.get("ratio") is None:
            found.setdefault(row["reason"], []).append(row["name"])
    more = {reason: f" and {len(names) - 2} more" if len(names) > 2 else "" for reason, names in found.items()}
    return [f"{', '.join(names[:2])}{more[reason]}: {reason}" for reason, names in found.items()]
