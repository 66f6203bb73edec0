"""The section of a progressive run's page that shows its way to the budget, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.reports.figures.progressive import how_known, signals_figure, trajectory_figure
from autoprune.reports.format import cost, duration, percent
from autoprune.reports.html.rendering import Picture, Table, picture, table
from autoprune.reports.steps import signals_of

__all__ = ["Pause", "SignalsPart", "TrajectorySection", "trajectory_of"]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Pause:
    """A step that waited for a device that was slowed down."""

    step: int
    reason: str
    time: str
    recovered: bool


@dataclass(frozen=True)
class SignalsPart:
    """Signals of the machine.

    Attributes:
        picture: A panel for each signal that has values; None if no signal has.
        sources: Where each signal comes from, or why it is absent.
    """

    picture: Picture | None
    sources: Table


@dataclass(frozen=True)
class TrajectorySection:
    """What the page shows of the steps.

    Attributes:
        costs: Cost and accuracy, step by step.
        pauses: Steps that waited for the device.
        signals: Signals of the machine; None if none were recorded.
        steps: The steps' figures.
    """

    costs: Picture
    pauses: list[Pause]
    signals: SignalsPart | None
    steps: Table


def trajectory_of(rows: Rows, kind: str) -> TrajectorySection:
    """Step by step: costs predicted and measured, accuracy, and every signal that the machine has.

    Args:
        rows: The rows of `steps.jsonl`, at least one.
        kind: What the budget limits.
    """
    return TrajectorySection(_costs(rows, kind), _pauses(rows), _signals(rows), _steps(rows, kind))


def _costs(rows: Rows, kind: str) -> Picture:
    return picture(
        lambda palette: trajectory_figure(rows, kind, palette),
        f"Cost of every step's network, predicted before it was built and {how_known(rows, kind)} after, and its "
        "accuracy on the search split: cut with BatchNorm re-estimated, and after the step's fine-tuning, on images "
        "that no proposal was scored on.",
    )


def _pauses(rows: Rows) -> list[Pause]:
    waited = [(row["step"], row["throttled"]) for row in rows if row.get("throttled")]
    return [Pause(step, pause["reason"], duration(pause["seconds"]), pause["over"]) for step, pause in waited]


def _signals(rows: Rows) -> SignalsPart | None:
    recorded = [signals_of(row) for row in rows]
    names = list(dict.fromkeys(name for signals in recorded for name in signals))
    if not names:
        return None
    readings = {name: [signals[name] for signals in recorded if name in signals] for name in names}
    present = {name: [one for one in found if one["value"] is not None] for name, found in readings.items()}
    drawn = [name for name in names if present[name]]
    caption = "Only signals that this machine has are drawn; a figure that is modelled says so in its axis."
    shown = picture(lambda palette: signals_figure(rows, drawn, palette), caption) if drawn else None
    sources = [_source(name, present[name], readings[name]) for name in names]
    return SignalsPart(shown, table(("signal", "kind", "source, or why there is none"), sources, words=3))


def _source(name: str, present: Rows, readings: Rows) -> tuple[str, str, str]:
    """A signal's name, whether it is measured, modelled or absent, and where it comes from as last recorded."""
    source = str((present or readings)[-1]["source"])
    kind = "absent" if not present else "modelled" if source.startswith("modelled") else "measured"
    return name, kind, source


def _steps(rows: Rows, kind: str) -> Table:
    header = ("step", "narrowed", "predicted", how_known(rows, kind), "of the limit", "accuracy cut", "fine-tuned")
    cells = [_cells(earlier, row, kind) for earlier, row in zip([rows[0], *rows], rows, strict=False)]
    return table((*header, "time"), cells, words=2)


def _cells(earlier: Mapping[str, Any], row: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    changes = [f"{name} {earlier['choices'].get(name)} to {row['choices'].get(name)}" for name in row.get("shrunk", [])]
    return (
        str(row["step"]),
        ", ".join(changes) or "the dense network",
        cost(row.get("predicted"), kind),
        cost(row.get("measured"), kind),
        percent(row["over"], 1),
        percent(row.get("accuracy_cut")),
        percent(row.get("accuracy")),
        duration(row.get("seconds")),
    )
