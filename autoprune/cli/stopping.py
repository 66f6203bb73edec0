"""Ctrl-C and SIGTERM: whatever happens, the program ends within seconds, with one line that says how to go on.

Nothing has to be saved at that moment. Finished episodes, timings and trainings' checkpoints are on disk already, and
files are written beside and renamed, so that even a hard end leaves nothing half-written.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from autoprune.cli.crash_report import dismiss
from autoprune.errors import Interrupted, Stopped

__all__ = ["killed", "on_interrupt", "resumable", "was_interrupted", "watched"]

_PATIENCE = 2.5  # seconds to end in good order; native code may not let go, a destructor may swallow the exception

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTHING = "interrupted; nothing had been started"

_asked = threading.Event()  # set by the first signal

_sentences: list[Callable[[], str]] = []  # the innermost `resumable` speaks


@contextlib.contextmanager
def resumable(run: Path, again: str) -> Iterator[None]:
    """Around work on a run: an interruption says how to go on with it.

    Args:
        run: The run's folder, which need not be there yet.
        again: What goes on, for the message: "the same command with --resume".

    Raises:
        Interrupted: In place of KeyboardInterrupt.
    """

    def sentence() -> str:
        begun = (run / "experiment.yaml").is_file()
        return f"interrupted; {run} keeps what is finished: {again} goes on" if begun else _NOTHING

    with on_interrupt(sentence):
        try:
            yield
        except Stopped as stop:
            kept = (
                "the best so far in policy.json and pruned.safetensors, and" if (run / "policy.json").is_file() else ""
            )
            raise Stopped(f"{stop}; {run} keeps {kept} what is finished: {again} goes on".replace("  ", " ")) from stop


@contextlib.contextmanager
def on_interrupt(sentence: Callable[[], str]) -> Iterator[None]:
    """Around work that can be gone on with: what an interruption says.

    Raises:
        Interrupted: In place of KeyboardInterrupt.
    """
    _sentences.append(sentence)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(sentence()) from None
    except Exception:
        if was_interrupted():  # a module that is cut off while it is imported may raise anything
            raise Interrupted(sentence()) from None
        raise
    finally:
        _sentences.pop()


def was_interrupted() -> bool:
    """Whether a signal has asked the program to end: whatever is raised afterwards comes of that."""
    return _asked.is_set()


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into KeyboardInterrupt, and end the process if that does not within seconds."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    _asked.clear()
    ended = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    threading.Thread(target=_watch, args=(reading, ended), daemon=True).start()
    before_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    # A background job of a shell has SIGINT ignored on purpose.
    handled = [s for s in _SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    before = {s: signal.signal(s, _Once()) for s in handled}
    hook, sys.unraisablehook = sys.unraisablehook, _quiet(sys.unraisablehook)
    try:
        yield
    finally:
        ended.set()
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        os.close(writing)  # the watching thread reads to the end and goes


class _Once:
    """The first signal raises; those that follow must not disturb the clearing up."""

    def __init__(self) -> None:
        self._raised = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._raised:
            self._raised = True
            _asked.set()
            raise KeyboardInterrupt


def _watch(reading: int, ended: threading.Event) -> None:
    """Wait for a signal's number on the pipe, then for the end; the pipe is written even while native code runs."""
    with os.fdopen(reading, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            if number[0] in _SIGNALS and not ended.wait(_PATIENCE):
                _end()


def killed(stage: str) -> str:
    """What is said of a process that dies in a stage: how to go on where an interruption would say that."""
    sentence = _sentences[-1]() if _sentences else _NOTHING
    return f'autoprune: killed in the stage "{stage}"' + (
        "" if sentence == _NOTHING else sentence.removeprefix("interrupted")
    )


def _end() -> None:
    dismiss()
    sentence = _sentences[-1]() if _sentences else _NOTHING
    cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar hides it
    with contextlib.suppress(OSError):
        os.write(2, f"{cursor}autoprune: {sentence}\n".encode())
    os._exit(Interrupted.exit_code)


def _quiet(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The hook, without tracebacks of an interruption that hit a destructor; the watch ends the process then."""

    def quiet(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)

    return quiet
