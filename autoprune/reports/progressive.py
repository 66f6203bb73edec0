"""A progressive run for people: its steps in TensorBoard, and the section of its page that shows the trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from autoprune.errors import InputError
from autoprune.foundations.files import parse_json
from autoprune.reports.figures._matplotlib import PAGE
from autoprune.reports.figures.progressive import how_known, signals_figure, trajectory_figure
from autoprune.reports.format import cost, duration, percent
from autoprune.reports.html.elements import Html, element, section, table
from autoprune.reports.html.picture import picture
from autoprune.reports.tensorboard import close_log, open_log
from autoprune.space import SearchSpace, first_fault

__all__ = ["StepWriter", "read_steps", "trajectory_section"]

_CONFIG = ConfigDict(extra="allow", allow_inf_nan=False)


class _Pause(BaseModel):
    model_config = _CONFIG
    reason: str
    seconds: float
    over: bool


class _Step(BaseModel):
    """What a page needs of a line of `steps.jsonl`."""

    model_config = _CONFIG
    step: int
    choices: dict[str, int]
    shrunk: list[str] = []
    predicted: float
    measured: float
    how: str | None = None
    limit: float
    over: float
    goal: float | None = None
    accuracy_cut: float | None = None
    accuracy: float | None = None
    seconds: float | None = None
    throttled: _Pause | None = None
    signals: dict[str, Any] | None = None


class StepWriter:
    """Writes the steps of a progressive run as TensorBoard scalars; the axis is the step, 0 the dense network.

    Args:
        folder: Where the event files lie; made if it is missing.
        space: The decisions, for the shares kept.
        first_step: The first step that will be written; what a killed run wrote from there on is discarded.

    Raises:
        InputError: If the folder cannot be written to.
    """

    def __init__(self, folder: Path, space: SearchSpace, *, first_step: int = 0) -> None:
        self._space = space
        self._writer: Any = open_log(folder, first_step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_log(self._writer, failing=kind is not None)

    def step(self, row: Mapping[str, Any]) -> None:
        """Write a finished step, a row of `steps.jsonl`; what is None is not written."""
        names = ("predicted", "measured", "limit", "over", "goal", "latency_ms", "dense_ms", "accuracy_cut", "accuracy")
        scalars = {f"step/{name}": row[name] for name in (*names, "proposals", "seconds")}
        scalars["step/paused_seconds"] = (row["throttled"] or {}).get("seconds", 0.0)
        scalars |= {f"signal/{name}": reading["value"] for name, reading in signals_of(row).items()}
        for decision in self._space.decisions:
            scalars[f"keep/{decision.name}"] = row["choices"].get(decision.name, decision.width) / decision.width
        for tag, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(tag, float(value), int(row["step"]))


def read_steps(run: str | Path) -> list[dict[str, Any]]:
    """The finished steps of a run, a torn last line left out; none if the run was not progressive.

    Raises:
        InputError: If the file cannot be read, or a line that is not the last is damaged.
    """
    path = Path(run) / "steps.jsonl"
    if not path.exists():
        return []
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line end is empty or torn
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line)
        except ValueError as error:
            raise InputError(f"{path}: line {number} is damaged: {error}") from error
        try:
            _Step.model_validate(row)
        except ValidationError as error:
            raise InputError(f"{path}: line {number} is not a step: {first_fault(error)}") from error
        rows.append(row)
    return rows


def signals_of(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The signals of a step by name: value, unit, source; empty where none were recorded."""
    found = row.get("signals") or {}
    return {name: reading for name, reading in found.items() if _is_reading(reading)}


def _is_reading(value: object) -> bool:
    """Whether a value is a signal: a figure or none, with its unit and source."""
    if not isinstance(value, Mapping) or not {"value", "unit", "source"} <= value.keys():
        return False
    return value["value"] is None or isinstance(value["value"], int | float)


def trajectory_section(rows: Sequence[Mapping[str, Any]], kind: str) -> Html:
    """Step by step: costs predicted and found, accuracy, and every signal that the machine has.

    Args:
        rows: The rows of `steps.jsonl`.
        kind: What the budget limits.
    """
    how = how_known(rows, kind)
    costs = picture(
        lambda: trajectory_figure(rows, kind, PAGE),
        "trajectory",
        f"Cost of every step's network, predicted before it was built and {how} after, and its accuracy on "
        "the search split: cut with BatchNorm re-estimated, and after the step's fine-tuning, on images that no "
        "proposal was scored on.",
    )
    header = ("step", "narrowed", "predicted", how, "of the limit", "accuracy cut", "fine-tuned", "time")
    cells = [_cells(earlier, row, kind) for earlier, row in zip([rows[0], *rows], rows, strict=False)]
    return section("Trajectory", costs, *_pauses(rows), *_signals(rows), table(header, cells, words=2))


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


def _pauses(rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    """A sentence for every step that waited for a device that was slowed down."""
    found = []
    for row in rows:
        pause = row.get("throttled")
        if pause:
            end = "it recovered" if pause["over"] else "it was measured while it still throttled"
            told = (
                f"Step {row['step']}: the device throttled ({pause['reason']}); {duration(pause['seconds'])} of waiting"
            )
            found.append(element("p", f"{told}, then {end}."))
    return found


def _signals(rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    """Pictures of the signals that there are, and a table that says where each comes from or why it is absent."""
    recorded = [signals_of(row) for row in rows]
    names = list(dict.fromkeys(name for signals in recorded for name in signals))
    if not names:
        return [element("p", "No signals of the machine were recorded.", class_="soft")]
    sources, shown = [], []
    for name in names:
        readings = [signals[name] for signals in recorded if name in signals]
        present = [reading for reading in readings if reading["value"] is not None]
        told = "modelled" if present and str(present[-1]["source"]).startswith("modelled") else "measured"
        sources.append((name, told if present else "absent", (present or readings)[-1]["source"]))
        if present:
            shown.append(name)
    parts = [element("h3", "Signals of the machine while it was measured")]
    if shown:
        caption = "Only what this machine can tell is drawn; a figure that is modelled says so in its axis."
        parts.append(picture(lambda: signals_figure(rows, shown, PAGE), "signals", caption))
    return [*parts, table(("signal", "kind", "source, or why there is none"), sources, words=3)]
