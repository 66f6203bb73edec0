"""The steps of a progressive run as its page needs them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.errors import InputError
from autoprune.foundations.files import require_plain
from autoprune.foundations.json_lines import read_rows
from autoprune.run.records import StepRecord

__all__ = ["read_steps", "signals_of"]


def read_steps(run: str | Path) -> list[StepRecord]:
    """The finished steps of a run, a torn last line left out; none if the run was not progressive.

    Raises:
        InputError: If the file cannot be read, or a line that is not the last is damaged.
    """
    path = Path(run) / "steps.jsonl"
    return [_step(row, f"{path}: line {number}") for number, row in enumerate(read_rows(path).rows, start=1)]


def _step(row: dict[str, Any], where: str) -> StepRecord:
    try:
        require_plain(row)
        return StepRecord.from_row(row)
    except ValueError as error:
        raise InputError(f"{where} is damaged: {error}") from error
    except InputError as error:
        raise InputError(f"{where} is {error}") from error


def signals_of(step: StepRecord) -> dict[str, Mapping[str, Any]]:
    """The signals of a step by name: value, unit, source; empty where none were recorded."""
    found = step.signals or {}
    return {name: reading for name, reading in found.items() if _is_reading(reading)}


def _is_reading(value: object) -> bool:
    """Whether a value is a signal: a figure or none, with its unit and source."""
    if not isinstance(value, Mapping) or not {"value", "unit", "source"} <= value.keys():
        return False
    return value["value"] is None or isinstance(value["value"], int | float)
