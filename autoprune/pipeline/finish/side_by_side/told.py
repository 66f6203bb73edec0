"""What a training in another process says to the one that asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Literal

from autoprune.pipeline.finish.side_by_side.base import Elsewhere, Heard
from autoprune.pipeline.reporter import Bar, Reporter

__all__ = ["Messages", "Overheard"]


class Messages(Enum):
    """Kinds of messages; each comes with one plain value."""

    SAID = "said"
    EPOCH = "epoch"
    RESUMED = "resumed"
    ENDED = "ended"
    NOT_REBUILT = "not rebuilt"

    def pass_on(self, value: Any, heard: Heard) -> None:
        """Let whoever hears know.

        Raises:
            Elsewhere: If the process could not make the trainings of what it was sent.
        """
        if self is Messages.NOT_REBUILT:
            raise Elsewhere(
                f"they cannot be rebuilt in another process ({value}); their code must be importable there, a script"
                " needs `if __name__ == '__main__':`"
            )
        hear: dict[Messages, Callable[[Any], None]] = {
            Messages.SAID: heard.say,
            Messages.EPOCH: heard.epoch,
            Messages.RESUMED: heard.resumed,
        }
        hear[self](value)


class Overheard(Reporter):
    """Sends what happens in a training.

    Args:
        send: Takes a message and its value, as a pair.
    """

    def __init__(self, send: Callable[[tuple[Messages, Any]], None]) -> None:
        self._send = send

    def say(self, sentence: str) -> None:
        """Send it."""
        self._send((Messages.SAID, sentence))

    def happened(self, kind: Literal["episode", "epoch"], values: Mapping[str, Any]) -> None:
        """Send the figures of an epoch."""
        self._send((Messages.EPOCH, dict(values)))

    def bar(self) -> Bar:
        """A bar of which only the beginning is of interest: epochs are heard of as they end."""
        return _Beginning(self._send)


class _Beginning:
    def __init__(self, send: Callable[[tuple[Messages, Any]], None]) -> None:
        self._send = send

    def __call__(self, done: int, total: int | None = None, what: str = "") -> None:
        pass

    def begin(self, done: int) -> None:
        self._send((Messages.RESUMED, done))

    def update(self, done: int, **figures: Any) -> None:
        pass
