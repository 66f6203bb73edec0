"""TensorBoard's event files.

torch's `SummaryWriter` writes from another thread: an error there is printed as a traceback and reaches the caller
later or never. Here every call writes before it returns, so that a full disk is reported by the call that met it, in
one line, and a killed search lacks nothing.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError

__all__ = ["EventLog"]

_FORMAT = "brain.Event:2"
_NUMBERS = itertools.count()


class EventLog:
    """A new event file in a folder that may have earlier ones.

    Files are read in the order of their names, which begin with the second in which they were made; of two files of
    one second the later might be read first, and its mark would forget the wrong steps. So this waits, for a second
    at most, until the name sorts behind those that are there.

    Args:
        folder: Where TensorBoard looks; made if it is missing.
        first_step: Later steps of earlier files are forgotten: a resumed run logs them again.

    Raises:
        InputError: If the folder cannot be written to; so does every method.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._folder = folder
        with self._reporting():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / _name(folder)).open("xb")
            self._records = RecordWriter(self._file)
        self._write(Event(file_version=_FORMAT))
        self._write(Event(step=first_step, file_version=_FORMAT))
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; an error of closing does not hide the error that is being raised."""
        try:
            self.close()
        except InputError:
            if kind is None:
                raise

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers by tag."""
        for tag, value in values.items():
            self._add(_summaries().scalar(tag, float(value)), step)

    def text(self, tag: str, markdown: str, step: int | None = None) -> None:
        """Write a text."""
        self._add(_summaries().text(tag, markdown), step)

    def image(self, tag: str, pixels: NDArray[np.uint8], step: int) -> None:
        """Write a picture, shape (height, width, 3)."""
        self._add(_summaries().image(tag, pixels, dataformats="HWC"), step)

    def layout(self, charts: Mapping[str, Any]) -> None:
        """Write what the page "Custom Scalars" draws."""
        self._add(_summaries().custom_scalars(charts))

    def hparams(self, settings: Mapping[str, bool | float | str], results: Mapping[str, float], step: int) -> None:
        """Write a row of TensorBoard's table of runs."""
        for part in _summaries().hparams(dict(settings), dict(results)):
            self._add(part, step)
        self.scalars(results, step)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._reporting():
            self._file.close()

    def _add(self, summary: Any, step: int | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._write(Event(summary=summary, step=step))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        with self._reporting():
            try:
                self._records.write(event.SerializeToString())
                self._file.flush()
            except OSError:
                with suppress(OSError):  # closing writes what is pending
                    self._file.close()
                raise

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"cannot write to {self._folder}: {error.strerror or error}") from error


def _summaries() -> Any:
    """Torch's functions that make TensorBoard's summaries; torch is imported when they are needed."""
    from torch.utils.tensorboard import summary

    return summary


def _name(folder: Path) -> str:
    """A file name that sorts behind those of the folder, as TensorBoard's own writers make it."""
    made = [int(found[1]) for path in folder.glob("events*") if (found := re.search(r"tfevents\.(\d+)", path.name))]
    while made and max(made) == int(time.time()):
        time.sleep(0.05)
    return f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBERS)}"
