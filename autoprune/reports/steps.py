"""The steps of a progressive run as its page needs them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from autoprune.errors import InputError
from autoprune.foundations.files import parse_json
from autoprune.space import first_fault

__all__ = ["read_steps", "signals_of"]

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
