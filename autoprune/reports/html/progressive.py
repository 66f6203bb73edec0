"""The section of a progressive run's page that shows its way to the budget, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.reports.figures.progressive import how_known, signals_figure, trajectory_figure
from autoprune.reports.format import cost, duration, percent
from autoprune.reports.html.rendering import Picture, Table, picture, table
from autoprune.reports.steps import signals_of
from autoprune.run.records import StepRecord
from autoprune.run.score import ACCURACY, ScoreSpec

__all__ = ["Pause", "SignalsPart", "TrajectorySection", "trajectory_of"]

Steps = Sequence[StepRecord]
Readings = Sequence[Mapping[str, Any]]


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


def trajectory_of(steps: Steps, kind: str, spec: ScoreSpec = ACCURACY) -> TrajectorySection:
    """Step by step: costs predicted and measured, score, and every signal that the machine has.

    Args:
        steps: At least one.
        kind: What the budget limits.
        spec: What networks are judged by.
    """
    return TrajectorySection(_costs(steps, kind, spec), _pauses(steps), _signals(steps), _table(steps, kind, spec))


def _costs(steps: Steps, kind: str, spec: ScoreSpec) -> Picture:
    return picture(
        lambda palette: trajectory_figure(steps, kind, spec, palette),
        f"Cost of every step's network, predicted before it was built and {how_known(steps, kind)} after, and its "
        f"{spec.name} on the search split: cut with BatchNorm re-estimated, and after the step's fine-tuning, on "
        "images that no proposal was scored on.",
    )


def _pauses(steps: Steps) -> list[Pause]:
    waited = [(step.step, step.throttled) for step in steps if step.throttled is not None]
    return [Pause(step, pause.reason, duration(pause.seconds), pause.over) for step, pause in waited]


def _signals(steps: Steps) -> SignalsPart | None:
    recorded = [signals_of(step) for step in steps]
    names = list(dict.fromkeys(name for signals in recorded for name in signals))
    if not names:
        return None
    readings = {name: [signals[name] for signals in recorded if name in signals] for name in names}
    present = {name: [one for one in found if one["value"] is not None] for name, found in readings.items()}
    drawn = [name for name in names if present[name]]
    caption = "Only signals that this machine has are drawn; a figure that is modelled says so in its axis."
    shown = picture(lambda palette: signals_figure(steps, drawn, palette), caption) if drawn else None
    sources = [_source(name, present[name], readings[name]) for name in names]
    return SignalsPart(shown, table(("signal", "kind", "source, or why there is none"), sources, words=3))


def _source(name: str, present: Readings, readings: Readings) -> tuple[str, str, str]:
    """A signal's name, whether it is measured, modelled or absent, and where it comes from as last recorded."""
    source = str((present or readings)[-1]["source"])
    kind = "absent" if not present else "modelled" if source.startswith("modelled") else "measured"
    return name, kind, source


def _table(steps: Steps, kind: str, spec: ScoreSpec) -> Table:
    header = ("step", "narrowed", "predicted", how_known(steps, kind), "of the limit", f"{spec.name} cut", "fine-tuned")
    cells = [_cells(earlier, step, kind, spec) for earlier, step in zip([steps[0], *steps], steps, strict=False)]
    return table((*header, "time"), cells, words=2)


def _cells(earlier: StepRecord, step: StepRecord, kind: str, spec: ScoreSpec) -> tuple[str, ...]:
    changes = [f"{name} {earlier.choices.get(name)} to {step.choices.get(name)}" for name in step.shrunk]
    return (
        str(step.step),
        ", ".join(changes) or "the dense network",
        cost(step.predicted, kind),
        cost(step.measured, kind),
        percent(step.over, 1),
        *(spec.text(value) for value in step.values),
        duration(step.seconds),
    )
