"""One signal of the machine: its value with where it comes from, or none with the reason. No torch.

Absent is None, never 0, and nothing is invented: whoever shows a `Reading` can show why there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Probe", "Reading", "WrappingCounter", "number_in", "reason_of", "sum_of", "text_in"]

Sample = Callable[[], float]


@dataclass(frozen=True)
class Reading:
    """One figure about the machine.

    Attributes:
        name: Which signal: `energy_j`, `temperature_c`, ...
        unit: Of the value, for people.
        value: The figure; None where the machine cannot tell.
        source: Where the value comes from, or why there is none.
    """

    name: str
    unit: str
    value: float | None
    source: str

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def __str__(self) -> str:
        if self.value is None:
            return f"no {self.name}: {self.source}"
        return f"{f'{self.name} {self.value:.4g} {self.unit}'.rstrip()} ({self.source})"


class Probe:
    """Reads one signal, by the first of several ways that works on this machine.

    Args:
        name: Which signal.
        unit: Of its values.
        ways: (source, how to sample) in order of preference; each is tried once, now.
        absent: Why there is no signal when there is no way at all.
    """

    def __init__(self, name: str, unit: str, ways: Sequence[tuple[str, Sample]], absent: str) -> None:
        self.name = name
        self.unit = unit
        self._sample: Sample | None = None
        self._source = absent
        reasons = []
        for source, sample in ways:
            try:
                self._checked(sample())
            except (OSError, ValueError) as error:
                reasons.append(f"{source}: {reason_of(error)}")
                continue
            self._sample, self._source = sample, source
            break
        if self._sample is None and reasons:
            self._source = "; ".join(reasons)

    @property
    def present(self) -> bool:
        """Whether the machine has this signal."""
        return self._sample is not None

    def read(self) -> Reading:
        """The signal now."""
        if self._sample is None:
            return Reading(self.name, self.unit, None, self._source)
        try:
            return Reading(self.name, self.unit, self._checked(self._sample()), self._source)
        except (OSError, ValueError) as error:  # it was there a moment ago
            return Reading(self.name, self.unit, None, f"{self._source}: {reason_of(error)}")

    def _checked(self, value: float) -> float:
        if not math.isfinite(value) or (value < 0 and self.unit != "°C"):
            raise ValueError(f"{value} {self.unit} cannot be")
        return value


class WrappingCounter:
    """A hardware counter that starts again at 0 when it is full, as one that never does.

    Args:
        read: The raw counter.
        span: The raw value at which it wraps; None for a counter that does not.
    """

    def __init__(self, read: Callable[[], int], span: int | None) -> None:
        self._read = read
        self._span = span
        self._last: int | None = None
        self._laps = 0

    def __call__(self) -> float:
        """The count, wraps included.

        Raises:
            ValueError: If the counter went backwards without having been near its end.
        """
        raw = self._read()
        last, self._last = self._last, raw
        if last is not None and raw < last:
            # A wrap ends high and starts low; anything else is a counter that was set back.
            if self._span is None or not (last > self._span / 2 > raw):
                raise ValueError(f"the counter went back from {last} to {raw}")
            self._laps += self._span
        return float(self._laps + raw)


def number_in(path: Path, *, least: float = -math.inf, most: float = math.inf) -> float:
    """The number that is all there is in a file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds something else, or a number outside of [least, most].
    """
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{path} holds {text[:30]!r}, which is no number") from None
    if not (math.isfinite(value) and least <= value <= most):
        raise ValueError(f"{path} says {text[:30]}, which cannot be")
    return value


def text_in(path: Path) -> str:
    """A file's text, without the zero at the end of those of a device tree; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\0").strip()
    except OSError:
        return ""


def sum_of(samples: Sequence[Sample]) -> Sample:
    """A sample that is the sum of others; fails when one of them does."""
    return lambda: math.fsum(sample() for sample in samples)


def reason_of(error: Exception) -> str:
    """An error in a few words: what cannot be read, and why."""
    if isinstance(error, PermissionError):
        return f"{error.filename} cannot be read: permission denied (root can)"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {str(error.strerror).lower()}"
    return " ".join(str(error).split()) or type(error).__name__
