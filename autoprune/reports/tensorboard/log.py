"""TensorBoard's event files: opened behind earlier ones, a full disk reported in one line."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from autoprune.errors import InputError

__all__ = ["close_log", "open_log"]

_FLUSH_SECONDS = 5  # what a killed search may lack in TensorBoard; its episodes are safe in episodes.jsonl


def open_log(folder: Path, first_step: int) -> Any:
    """A new log in a folder that may have earlier ones.

    Logs are read in the order of their names, which begin with the second in which they were made; of two logs of one
    second the later might be read first, and its mark would forget the wrong steps. So this waits, for a second at
    most, until the name sorts behind those that are there.

    Args:
        folder: Where TensorBoard looks.
        first_step: Later steps of earlier logs are forgotten: a resumed run logs them again.

    Raises:
        InputError: If the folder cannot be written to.
    """
    made = [int(found[1]) for path in folder.glob("events*") if (found := re.search(r"tfevents\.(\d+)", path.name))]
    while made and max(made) == int(time.time()):
        time.sleep(0.05)
    return _Log(folder, first_step)


class _Log:
    """A `SummaryWriter` that tells of a full disk in one line.

    TensorBoard writes from a thread of its own, in which an error ends with a traceback on the screen; the next call
    raises it again.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        _quiet_the_thread()
        self._folder = folder
        with self._told():
            self._writer = SummaryWriter(str(folder), purge_step=first_step, flush_secs=_FLUSH_SECONDS)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"cannot write to {self._folder}: {error.strerror or error}") from error

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._writer, name)

        def call(*given: Any, **named: Any) -> Any:
            with self._told():
                return method(*given, **named)

        return call


def close_log(log: Any, failing: bool) -> None:
    """Write out what is pending; while something else fails already, that is what the user has to hear of."""
    with suppress(InputError) if failing else nullcontext():
        log.close()


@functools.cache
def _quiet_the_thread() -> None:
    """Print no traceback of TensorBoard's thread where it could not write; every other thread's as before."""
    before = threading.excepthook

    def hook(told: threading.ExceptHookArgs) -> None:
        ours = type(told.thread).__module__.startswith("tensorboard.") and issubclass(told.exc_type, OSError)
        if not ours:
            before(told)

    threading.excepthook = hook
