"""The one contract of whatever shows how far long work has come."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Bar", "Progress", "no_progress"]


class Progress(Protocol):
    """Receives how far some work has come: `progress(done, total, what)`."""

    def __call__(self, done: int, total: int | None = None, what: str = "") -> None:
        """Report that `done` of `total` are done; `what` is worked on at the moment."""


class Bar(Progress, Protocol):
    """The progress of a stage, with figures beside it."""

    def begin(self, done: int) -> None:
        """Report what an earlier session finished: it does not count for the time left."""

    def update(self, done: int, **figures: Any) -> None:
        """Report progress with figures to show, such as the best accuracy."""


def no_progress(done: int, total: int | None = None, what: str = "") -> None:
    """Show nothing."""
