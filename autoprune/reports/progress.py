"""Progress of long work: a bar on a terminal, one plain line now and then without one."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from autoprune.reports.format import NONE, duration

__all__ = ["Progress"]

_LINE_SECONDS = 15.0
_BAR_SECONDS = 0.1
_SILENT_SECONDS = 60.0  # after which a line says that work which reports nothing goes on
_SPEED_SECONDS = 3600.0  # over which a bar averages the speed; an epoch may take many minutes


class Progress:
    """Shows how far long work has come, on standard error.

    ```
    with Progress("search", 300) as progress:
        for k in range(300):
            ...
            progress.update(k + 1, best="91.3%", latency="0.341 of 0.358 ms")
    ```

    Updates come as often as the work likes; what is shown is throttled. The last state is always shown. Without a
    terminal a line comes at least once a minute, from another thread, whether the work reports or not.

    Args:
        what: The work's name.
        total: How many units of work there are; None if that is unknown.
        console: Where to write; standard error by default.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        console: Console | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._clock = total, clock
        self._done = 0
        self._figures: dict[str, str | None] = {}
        self._due, self._shown = -math.inf, True
        self._display = _display(what, total, console, clock)

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._shown:
            self._show(self._clock())
        self._display.stop()

    def begin(self, done: int) -> None:
        """Report how many units were finished before: they do not count for the time left."""
        self._done = done
        self._display.begin(done)

    def update(self, done: int, **figures: str | None) -> None:
        """Report how far the work has come.

        Args:
            done: Units finished.
            **figures: What to show beside, with its unit, by name: `best_accuracy="91.3 %"`.
        """
        self._done, self._figures, self._shown = done, figures, False
        now = self._clock()
        if now >= self._due:
            self._show(now)

    def __call__(self, done: int, total: int | None = None, what: str = "") -> None:
        """The same for work that counts itself: its total may become known, or change, on the way.

        Work that begins to count anew, or another number of units, is in its next phase: the speed of the one says
        nothing about the other, so the time left is told anew from there. The last state of every phase is shown.

        Args:
            done: Units finished.
            total: How many there are, if known by now.
            what: What is worked on at the moment.
        """
        if done < self._done or (total is not None and self._total not in (None, total)):
            self._new_phase(done)
        self._total = self._total if total is None else total
        self.update(done, **({"at": what} if what else {}))

    def _new_phase(self, done: int) -> None:
        """The end of the one, and a clock of its own for the next, which is announced at once."""
        if not self._shown:
            self._show(self._clock())
        self._display.phase(done)
        self._due = -math.inf

    def _show(self, now: float) -> None:
        self._due, self._shown = now + self._display.every, True
        figures = [f"{name.replace('_', ' ')} {NONE if text is None else text}" for name, text in self._figures.items()]
        self._display.show(self._done, self._total, figures)


class _Display(Protocol):
    """Where progress is shown, and how many seconds pass between two updates of it."""

    every: float

    def start(self) -> None: ...
    def begin(self, done: int) -> None: ...
    def phase(self, done: int) -> None: ...
    def show(self, done: int, total: int | None, figures: list[str]) -> None: ...
    def stop(self) -> None: ...


def _display(what: str, total: int | None, console: Console | None, clock: Callable[[], float]) -> _Display:
    console = Console(stderr=True) if console is None else console
    return (_Bar if console.is_terminal else _Lines)(what, total, console, clock)


class _Lines:
    """Plain lines, for logs; one at least in every minute."""

    every = _LINE_SECONDS

    def __init__(self, what: str, total: int | None, console: Console, clock: Callable[[], float]) -> None:
        self._what, self._total, self._console, self._clock = what, total, console, clock
        self._first = self._done = 0
        self._phase: float | None = None  # when it began, if it is not the first
        self._figures: list[str] = []
        self._started = clock()
        self._heartbeat: _Heartbeat | None = None

    def start(self) -> None:
        self._started = self._clock()
        if not self._console.quiet:
            self._heartbeat = _Heartbeat(self._still)

    def begin(self, done: int) -> None:
        self._first = self._done = done

    def show(self, done: int, total: int | None, figures: list[str]) -> None:
        self._done, self._total, self._figures = done, total, figures
        self._print([self._counted(), *figures, self._time()])

    def phase(self, done: int) -> None:
        self._first, self._phase = done, self._clock()

    def stop(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _still(self) -> None:
        """The line that breaks a silence: what is known, and that the work goes on."""
        begun = [self._counted(), *self._figures] if self._done or self._figures else []
        self._print([*begun, "still at it", f"{duration(self._clock() - self._started)} so far"])

    def _print(self, parts: list[str]) -> None:
        if self._heartbeat is not None:
            self._heartbeat.put_off()
        line = f"{self._what}: {', '.join(parts)}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _counted(self) -> str:
        return f"{self._done}/{self._total}" if self._total is not None else str(self._done)

    def _time(self) -> str:
        """Time left at the speed so far; time taken if the speed is unknown or nothing is left."""
        elapsed, finished = self._clock() - self._started, self._done - self._first
        left = (self._total or 0) - self._done
        if self._total is not None and left <= 0:
            return f"took {duration(elapsed)}"
        if self._total is None or finished <= 0:
            return f"{duration(elapsed)} so far"
        spent = elapsed if self._phase is None else self._clock() - self._phase
        return f"{duration(spent / finished * left)} left"


class _Heartbeat:
    """Calls after every minute of silence.

    Args:
        speak: Called from another thread.
    """

    def __init__(self, speak: Callable[[], None]) -> None:
        self._speak, self._last, self._ended = speak, time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def put_off(self) -> None:
        """Count the minute from now: a line was written."""
        self._last = time.monotonic()

    def stop(self) -> None:
        """Call no more; returns when the thread has ended."""
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(max(0.0, self._last + _SILENT_SECONDS - time.monotonic())):
            if time.monotonic() >= self._last + _SILENT_SECONDS:
                self.put_off()
                self._speak()


class _Bar:
    """rich's bar; it stays when the work is done, if the work has reported anything."""

    every = _BAR_SECONDS

    def __init__(self, what: str, total: int | None, console: Console, clock: Callable[[], float]) -> None:
        name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
        figures = TextColumn(
            "{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
        )
        self._bars = RichProgress(
            *(name, BarColumn(bar_width=24), MofNCompleteColumn(), figures, TimeElapsedColumn(), _TimeLeftColumn()),
            console=console,
            get_time=clock,
            speed_estimate_period=_SPEED_SECONDS,
            expand=True,
        )
        self._task = self._bars.add_task(what, total=total, figures="")
        self._reported = False

    def start(self) -> None:
        self._bars.start()

    def begin(self, done: int) -> None:
        self._bars.reset(self._task, completed=done)

    def phase(self, done: int) -> None:
        self.begin(done)

    def show(self, done: int, total: int | None, figures: list[str]) -> None:
        self._reported = True
        self._bars.update(self._task, completed=done, total=total, figures=", ".join(figures))

    def stop(self) -> None:
        self._bars.live.transient = not self._reported
        self._bars.stop()


class _TimeLeftColumn(TimeRemainingColumn):
    """The time left, and that it is; nothing where it is unknown."""

    def render(self, task: Task) -> Text:
        return Text() if task.time_remaining is None or task.finished else super().render(task).append(" left")
