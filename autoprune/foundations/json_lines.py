"""Files of JSON lines that only grow: a row is on disk when it is written, a torn last line is no row."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autoprune.errors import InputError

__all__ = ["Rows", "append_row", "read_rows"]


class Rows(NamedTuple):
    """What a file of rows holds.

    Attributes:
        rows: The objects of its whole lines, in order.
        size: Bytes of these lines; whatever follows was torn off by a kill.
    """

    rows: list[dict[str, Any]]
    size: int


def read_rows(path: Path) -> Rows:
    """Every whole line of a file, which stays as it is; none if there is no file.

    Raises:
        InputError: If the file cannot be read, or a line that is not the last is damaged.
    """
    if not path.exists():
        return Rows([], 0)
    try:
        *lines, tail = path.read_bytes().split(b"\n")  # what follows the last line end is empty or torn
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    rows: list[dict[str, Any]] = []
    size = 0
    for number, line in enumerate(lines, start=1):
        row = _parsed(line)
        if row is None:
            if number == len(lines) and not tail:
                break
            raise InputError(f"{path}: line {number} is damaged")
        rows.append(row)
        size += len(line) + 1
    return Rows(rows, size)


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line; it is on disk when this returns.

    Raises:
        OSError: If it cannot be written.
    """
    line = json.dumps(row, allow_nan=False) + "\n"
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line's object; None if it is torn."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
