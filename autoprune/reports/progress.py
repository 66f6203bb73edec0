"""Progress of long work: a bar on a terminal, one plain line now and then without one."""

from __future__ import annotations

import io
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from autoprune.reports.format import duration, figure

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

__all__ = ["Progress"]

_LINE_SECONDS = 15.0
_BAR_SECONDS = 0.1
_SILENT_SECONDS = 60.0  # after which work that reports nothing is said to go on


class Progress:
    """Shows how far long work has come, on standard error.

    ```
    with Progress("search", 300) as progress:
        for k in range(300):
            ...
            progress.update(k + 1, best_accuracy=0.913, latency="0.341 of 0.358 ms")
    ```

    Updates come as often as the work likes; what is shown is throttled. The last state is always shown. Without a
    terminal a line comes at least once a minute, from a thread of its own, whether the work reports or not.

    Args:
        what: The work's name.
        total: How many units of work there are; None if nobody knows.
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
        self._what, self._total = what, total
        self._clock = clock
        self._first = self._done = 0
        self._figures: dict[str, object] = {}
        self._due, self._shown = -math.inf, True
        self._started = clock()
        self._display = _display(what, total, console)

    @classmethod
    def quiet(cls, what: str = "", total: int | None = None) -> Progress:
        """The same, showing nothing."""
        from rich.console import Console

        return cls(what, total, Console(quiet=True, file=io.StringIO()))

    def __enter__(self) -> Self:
        self._started = self._clock()
        self._display.start(lambda: self._text(self._clock(), still=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._shown:
            self._show(self._clock())
        self._display.stop()

    def begin(self, done: int) -> None:
        """Say how many units were finished before: they do not count for the time left."""
        self._first = self._done = done

    def update(self, done: int, **figures: object) -> None:
        """Say how far the work has come.

        Args:
            done: Units finished.
            **figures: What to show beside; see `autoprune.reports.format.figure` for how names choose the unit.
        """
        self._done, self._figures, self._shown = done, figures, False
        now = self._clock()
        if now >= self._due:
            self._show(now)

    def __call__(self, done: int, total: int | None = None, what: str = "") -> None:
        """The same for work that counts itself: its total may become known, or change, on the way.

        Args:
            done: Units finished.
            total: How many there are, if known by now.
            what: What is worked on at the moment.
        """
        self._total = self._total if total is None else total
        self.update(done, **({"at": what} if what else {}))

    def say(self, line: str) -> None:
        """Write a line of its own, above the bar if there is one."""
        self._display.say(line)

    def _show(self, now: float) -> None:
        self._due, self._shown = now + self._display.every, True
        self._display.show(self._done, self._total, self._text(now))

    def _text(self, now: float, *, still: bool = False) -> str:
        done = f"{self._done}/{self._total}" if self._total is not None else str(self._done)
        figures = [figure(name, value) for name, value in self._figures.items()]
        if still:
            begun = [done, *figures] if self._done or figures else []
            return ", ".join([*begun, "still at it", f"{duration(now - self._started)} so far"])
        return ", ".join([done, *figures, self._time(now)])

    def _time(self, now: float) -> str:
        """Time left at the speed so far; time taken if that cannot be told or nothing is left."""
        elapsed, finished = now - self._started, self._done - self._first
        left = (self._total or 0) - self._done
        if self._total is not None and left <= 0:
            return f"took {duration(elapsed)}"
        if self._total is None or finished <= 0:
            return f"{duration(elapsed)} so far"
        return f"{duration(elapsed / finished * left)} left"


class _Display(Protocol):
    """Where progress is shown, and how many seconds lie between two showings."""

    every: float

    def start(self, still: Callable[[], str]) -> None: ...
    def show(self, done: int, total: int | None, text: str) -> None: ...
    def say(self, line: str) -> None: ...
    def stop(self) -> None: ...


class _Lines:
    """Plain lines, for logs."""

    every = _LINE_SECONDS

    def __init__(self, what: str, console: Console) -> None:
        self._what, self._console = what, console
        self._heartbeat: _Heartbeat | None = None

    def start(self, still: Callable[[], str]) -> None:
        """Watch over silence, unless nothing is shown at all."""
        if not self._console.quiet:
            self._heartbeat = _Heartbeat(lambda: self.say(f"{self._what}: {still()}"))

    def stop(self) -> None:
        """Watch no longer."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def show(self, done: int, total: int | None, text: str) -> None:
        self.say(f"{self._what}: {text}")

    def say(self, line: str) -> None:
        if self._heartbeat is not None:
            self._heartbeat.put_off()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Heartbeat:
    """Speaks after every minute of silence.

    Args:
        speak: Called from another thread.
    """

    def __init__(self, speak: Callable[[], None]) -> None:
        self._speak, self._last, self._ended = speak, time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def put_off(self) -> None:
        """Something was said just now."""
        self._last = time.monotonic()

    def stop(self) -> None:
        """Speak no more; returns when the thread has ended."""
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(max(0.0, self._last + _SILENT_SECONDS - time.monotonic())):
            if time.monotonic() >= self._last + _SILENT_SECONDS:
                self.put_off()
                self._speak()


class _Bar(_Lines):
    """A bar that stays when the work is done, if the work has reported anything."""

    every = _BAR_SECONDS

    def __init__(self, what: str, total: int | None, console: Console) -> None:
        super().__init__(what, console)
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
        text = TextColumn(
            "{task.fields[text]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
        )
        self._total = total
        self._bars = RichProgress(name, BarColumn(bar_width=24), text, console=console, transient=False, expand=True)
        self._task: TaskID | None = None
        self._reported = False

    def start(self, still: Callable[[], str]) -> None:
        self._task = self._bars.add_task(self._what, total=self._total, text="")
        self._bars.start()

    def show(self, done: int, total: int | None, text: str) -> None:
        self._reported = True
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total, text=text)

    def stop(self) -> None:
        self._bars.live.transient = not self._reported
        self._bars.stop()


def _display(what: str, total: int | None, console: Console | None) -> _Display:
    from rich.console import Console

    console = Console(stderr=True) if console is None else console
    return _Bar(what, total, console) if console.is_terminal else _Lines(what, console)
