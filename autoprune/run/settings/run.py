"""The run itself: its seed, its time, its folder."""

from __future__ import annotations

import re
from typing import Any

from pydantic import field_validator

from autoprune.run.settings.base import Settings, setting

__all__ = ["RunSettings", "seconds_in"]

_UNITS = {"s": 1, "min": 60, "h": 3600}


def seconds_in(text: str) -> float:
    """The seconds of a time with its units.

    Raises:
        ValueError: If it is none, or not above 0.

    >>> seconds_in("30min"), seconds_in("1h 30min"), seconds_in("1.5s")
    (1800.0, 5400.0, 1.5)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|min|s)", "".join(text.lower().split()))
    if not parts or "".join(number + unit for number, unit in parts) != "".join(text.lower().split()):
        raise ValueError("write a time with its unit, such as 30min, 2h or 1h30min")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < total <= 1e8:
        raise ValueError("should be above 0 seconds and at most three years")
    return total


class RunSettings(Settings):
    """The seed, and the folder in which a run is kept."""

    panel = "Run"

    seed: int = setting(0, "one seed, one result", ge=0, lt=2**31)
    time_limit: str | None = setting(
        None,
        "end in good order after so long (30min, 2h, 90s), with the best so far; --resume goes on, with a limit anew",
    )
    run: str | None = setting(None, "name of the run: a folder under runs/, or a path if it has a slash")

    @field_validator("run")
    @classmethod
    def _run_has_a_name(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("name a folder, or leave it out")
        return value

    @field_validator("time_limit", mode="before")
    @classmethod
    def _time_is_text(cls, value: Any) -> Any:
        return f"{value:.6f}s" if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("time_limit")
    @classmethod
    def _time_can_be_read(cls, value: str | None) -> str | None:
        if value is not None:
            seconds_in(value)
        return value

    @property
    def seconds_allowed(self) -> float | None:
        """The time limit in seconds; None if there is none."""
        return None if self.time_limit is None else seconds_in(self.time_limit)
