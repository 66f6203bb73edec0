"""How long the stages of a run took, over all processes that worked on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.run.directory import RunDir

__all__ = ["Stopwatch", "rounded_seconds", "seconds_of"]

_KEY = "seconds"  # in the run's journal


class Stopwatch:
    """Seconds by stage, kept in the run's journal after every stage, so that a resumed run adds to them.

    Args:
        run: Whose stages they are.
    """

    def __init__(self, run: RunDir[Any]) -> None:
        self.run = run
        self.seconds: dict[str, float] = seconds_of(run)

    @contextlib.contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Count the time of what is done inside under this name; the run's folder says meanwhile `what` that is."""
        start = time.perf_counter()
        self.run.in_stage(what)
        try:
            yield
        finally:
            self.run.in_stage(None)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            with contextlib.suppress(AutopruneError):  # the next file that cannot be written says so
                self.run.remember(_KEY, self.seconds)


def seconds_of(run: RunDir[Any]) -> dict[str, float]:
    """Seconds by stage so far."""
    return dict(run.recall(_KEY) or {})


def rounded_seconds(run: RunDir[Any]) -> dict[str, float]:
    """Seconds by stage so far, to the millisecond, for reports."""
    return {name: round(seconds, 3) for name, seconds in seconds_of(run).items()}
