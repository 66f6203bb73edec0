"""What the pipeline shows to whoever watches: sentences, and the progress of its stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

from autoprune.foundations.progress import Bar
from autoprune.foundations.user_code import during
from autoprune.run.stopwatch import Stopwatch

__all__ = ["Bar", "Reporter", "Silent", "TimedReporter"]


class Reporter:
    """Shows progress and sentences, and nothing else. Front ends override `say` and `open_bar`."""

    def say(self, sentence: str) -> None:
        """One line for whoever watches."""

    def happened(self, kind: Literal["episode", "epoch"], values: Mapping[str, Any]) -> None:
        """An episode or an epoch is finished: its figures as numbers, for programs that watch."""

    def open_bar(self, what: str, total: int | None) -> AbstractContextManager[Bar]:
        """A progress bar."""
        return _null_bar()

    @contextmanager
    def stage(self, name: str, what: str, total: int | None = None, done: int = 0) -> Iterator[Bar]:
        """A stage of the job.

        Args:
            name: Under which its time counts, where somebody counts it.
            what: What is done, for people.
            total: Units of work, if they are known.
            done: How many of them were finished in earlier sessions.
        """
        with during(what), self.open_bar(what, total) as bar:
            if done:
                bar.begin(done)
            yield bar


class Silent(Reporter):
    """Says nothing."""


class TimedReporter(Reporter):
    """Another reporter's words; the time of the stages goes to a run's stopwatch.

    Args:
        shown: The caller's reporter; left as it is.
        stopwatch: Of the run that is worked on.
    """

    def __init__(self, shown: Reporter, stopwatch: Stopwatch) -> None:
        self.shown, self.stopwatch = shown, stopwatch

    def say(self, sentence: str) -> None:
        """Pass it on."""
        self.shown.say(sentence)

    def happened(self, kind: Literal["episode", "epoch"], values: Mapping[str, Any]) -> None:
        """Pass it on."""
        self.shown.happened(kind, values)

    @contextmanager
    def stage(self, name: str, what: str, total: int | None = None, done: int = 0) -> Iterator[Bar]:
        """A stage whose time counts."""
        with self.stopwatch.stage(name, what), self.shown.stage(name, what, total, done) as bar:
            yield bar


class _NullBar:
    def __call__(self, done: int, total: int | None = None, what: str = "") -> None:
        pass

    def begin(self, done: int) -> None:
        pass

    def update(self, done: int, **figures: Any) -> None:
        pass


@contextmanager
def _null_bar() -> Iterator[Bar]:
    yield _NullBar()
