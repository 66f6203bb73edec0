"""A process of its own with a pipe to this one, which ends with this one, however that comes about."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["Child"]

_SECONDS_TO_END = 0.5


class Child:
    """A new process that runs a function.

    It ends when its parent ends. Ctrl-C in a terminal reaches it, too, and is left to the parent.

    Args:
        serve: Called there with its end of the pipe and the arguments; when the parent has gone, the pipe's errors end
            the process quietly.
        *arguments: Picklable.
        may_have_children: Whether it may start processes of its own, as loaders with workers do.
    """

    def __init__(self, serve: Callable[..., None], *arguments: Any, may_have_children: bool = False) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        daemon = not may_have_children  # a daemon of multiprocessing may have none
        self._process = context.Process(target=_run, args=(serve, theirs, arguments), daemon=daemon)
        with _without_interruption():
            self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        """The process."""
        return self._process.pid

    def end(self) -> int | None:
        """End the process at once; its exit code, negative for a signal."""
        self.connection.close()
        self._process.join(0 if self._process.is_alive() else None)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_SECONDS_TO_END)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        return self._process.exitcode


def _run(serve: Callable[..., None], connection: Connection, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the parent is gone: nobody is left to tell
        serve(connection, *arguments)


def _end_with_the_parent() -> None:
    """Even in the midst of its work, when nobody looks at the pipe."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _without_interruption() -> Iterator[None]:
    """SIGINT waits, and a process that is started here never gets it: while it imports, it would print a traceback."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # the first process starts it, which lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
