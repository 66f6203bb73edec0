"""A training step that does not end is reported: a fault of native code hangs without a message."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["StepWatch"]

_LEAST_SECONDS = 60.0
_TIMES_THE_MEDIAN = 100.0
_REMEMBERED = 101  # steps that the median is of


class StepWatch:
    """Says, once a stall, that a step has not ended within a minute, or within a hundred median steps if that is more.

    From a thread of its own, since the one that trains may be deep in native code.

    Args:
        what: What is trained, for people.
        say: Called with the sentence, from another thread.
        least: Seconds below which no step is reported.
        times: Of the median step, likewise.
    """

    def __init__(
        self,
        what: str,
        say: Callable[[str], None],
        *,
        least: float | None = None,
        times: float = _TIMES_THE_MEDIAN,
    ) -> None:
        self._what, self._say, self._times = what, say, times
        self._least = _LEAST_SECONDS if least is None else least
        self._taken: deque[float] = deque(maxlen=_REMEMBERED)
        self._news = threading.Condition()
        self._epoch, self._step, self._steps = 0, 0, 0
        self._since, self._told, self._ended = time.monotonic(), False, False
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._since = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._news:
            self._ended = True
            self._news.notify()
        self._thread.join()

    def step(self, number: int, steps: int) -> None:
        """A step has ended: its number in the epoch, from 1, and how many an epoch has."""
        now = time.monotonic()
        with self._news:
            self._taken.append(now - self._since)
            self._step, self._steps = number, steps
            self._moved(now)

    def epoch(self, done: int) -> None:
        """So many epochs are done; what lies between two of them is no step."""
        with self._news:
            self._epoch, self._step = done, 0
            self._moved(time.monotonic())

    def _moved(self, now: float) -> None:
        self._since = now
        if self._told:  # else the thread wakes by itself when the old step would have been late
            self._told = False
            self._news.notify()

    def _watch(self) -> None:
        while True:
            with self._news:
                while not self._ended and (left := self._left()) > 0:
                    self._news.wait(None if self._told else left)
                if self._ended:
                    return
                self._told, sentence = True, self._sentence()
            self._say(sentence)

    def _left(self) -> float:
        """Seconds until the step under way is late; any number above 0 once that was said."""
        if self._told:
            return 1.0
        return self._since + self._patience() - time.monotonic()

    def _patience(self) -> float:
        return max(self._least, self._times * statistics.median(self._taken)) if self._taken else self._least

    def _sentence(self) -> str:
        of = f" of {self._steps}" if self._steps else ""
        median = f" (the median step took {statistics.median(self._taken):.2g} s)" if self._taken else ""
        return (
            f"{self._what}: step {self._step + 1}{of} of epoch {self._epoch + 1} has not ended for"
            f" {time.monotonic() - self._since:.0f} s{median}; if it never does, stop the process: --resume goes on"
            " from the last checkpoint, perhaps with ONEDNN_MAX_CPU_ISA=AVX in the environment or fewer --train-threads"
        )
