"""Who watches a job from outside it: the user's callbacks, and the time limit; both may end it in good order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from autoprune.errors import Stopped
from autoprune.foundations.user_code import UserCode, path_of
from autoprune.pipeline.reporter import Bar, Reporter
from autoprune.run.experiment import Experiment

__all__ = ["Callback", "Event", "Progress", "Watched", "watched"]


@dataclass(frozen=True)
class Event:
    """What has just happened in a job.

    Attributes:
        kind: A stage began, came further or ended; an episode or an epoch is finished; a sentence was said.
        text: The sentence; empty for all else.
        values: Of an episode its row in `episodes.jsonl` (accuracy, predicted_cost, choices, ...), of an epoch `epoch`,
            `loss`, `lr`, `seconds`; of a stage that came further the figures that its bar shows.
    """

    kind: Literal["stage_started", "advanced", "stage_ended", "episode", "epoch", "message"]
    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Progress:
    """Where a job stands; the same object in every call of a callback.

    Attributes:
        stage: Under which name the stage's time counts: profile, train, search, finetune, verify, ...
        what: What is being done, for people.
        done: Units of the stage that are done: episodes, epochs, networks.
        total: Of how many; None where it is not known.
        seconds: Since the job began in this process.
    """

    stage: str = ""
    what: str = ""
    done: int = 0
    total: int | None = None
    seconds: float = 0.0
    _reason: str | None = None

    def stop(self, reason: str = "a callback ended the job") -> None:
        """End the job in good order: what is finished is kept, the best so far is given back, resuming goes on."""
        self._reason = reason


Callback = Callable[[Progress, Event], object]
"""A user's function of (progress, event); what it returns is ignored."""


class Watched(Reporter):
    """Another reporter's words and bars, of which callbacks hear, and which end when the time is up.

    A job can be interrupted at any moment and loses nothing finished, so it is ended wherever it next reports.

    Args:
        shown: The reporter that shows it all; left as it is.
        callbacks: Called in this order.
        limit: Seconds from now on; None has none.
        said: The limit as the user wrote it.
    """

    def __init__(
        self, shown: Reporter, callbacks: Sequence[Callback] = (), limit: float | None = None, said: str = ""
    ) -> None:
        self.shown, self._callbacks, self._said = shown, tuple(callbacks), said
        self._begun = time.monotonic()
        self._end = None if limit is None else self._begun + limit
        self.progress = Progress()

    def say(self, sentence: str) -> None:
        """Pass it on."""
        self.shown.say(sentence)
        self._tell(Event("message", sentence))

    def happened(self, kind: Literal["episode", "epoch"], values: Mapping[str, Any]) -> None:
        """Tell the callbacks."""
        self._tell(Event(kind, values=values))

    @contextmanager
    def stage(self, name: str, what: str, total: int | None = None, done: int = 0) -> Iterator[Bar]:
        """A stage, of which callbacks hear the beginning, every step and the end.

        Raises:
            Stopped: If the time is up, or a callback said so.
        """
        progress = self.progress
        progress.stage, progress.what, progress.done, progress.total = name, what, done, total
        self._tell(Event("stage_started"))
        self._end_in_time()
        with self.shown.stage(name, what, total, done) as bar:
            yield _WatchedBar(bar, self)
        self._tell(Event("stage_ended"))

    def advanced(self, done: int, total: int | None, figures: Mapping[str, Any]) -> None:
        """A stage came further.

        Raises:
            Stopped: If the time is up, or a callback said so.
        """
        self.progress.done = done
        self.progress.total = self.progress.total if total is None else total
        self._tell(Event("advanced", values=figures))
        self._end_in_time()

    def _tell(self, event: Event) -> None:
        self.progress.seconds = time.monotonic() - self._begun
        for callback in self._callbacks:
            with UserCode(f"the callback {path_of(callback)}"):
                callback(self.progress, event)

    def _end_in_time(self) -> None:
        if self.progress._reason is not None:
            raise Stopped(self.progress._reason)
        if self._end is not None and time.monotonic() >= self._end:
            raise Stopped(f"the time limit of {self._said} is over")


def watched(shown: Reporter, experiment: Experiment, callbacks: Sequence[Callback] = ()) -> Reporter:
    """A reporter with what a run's settings and its caller want heard and ended; itself where that is nothing."""
    limit = experiment.seconds_allowed
    if limit is None and not callbacks:
        return shown
    return Watched(shown, callbacks, limit, experiment.time_limit or "")


class _WatchedBar:
    """A bar that says when it moves."""

    def __init__(self, shown: Bar, watched: Watched) -> None:
        self._shown, self._watched = shown, watched

    def __call__(self, done: int, total: int | None = None, what: str = "") -> None:
        self._shown(done, total, what)
        self._watched.advanced(done, total, {})

    def begin(self, done: int) -> None:
        self._shown.begin(done)

    def update(self, done: int, **figures: Any) -> None:
        self._shown.update(done, **figures)
        self._watched.advanced(done, None, figures)
