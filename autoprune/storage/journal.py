"""A log in a file, for the processes of one machine or of machines that share a disk."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from autoprune.errors import StoreError
from autoprune.storage.base import Fact, Store

__all__ = ["Journal"]

_PATIENCE = 2.0  # seconds for another process that writes; one that is stopped meanwhile keeps its lock


class Journal(Store):
    """The facts of a study, a JSON line each, in a file beside the one that `optuna-dashboard` opens.

    Who writes holds the kernel's lock of the file, which goes with the process. A line that a kill or a full disk
    left unfinished is no fact: whoever writes next cuts it off, into a file `.torn`, while it holds the lock. Facts
    are dated by this machine's clock, which machines that share a disk have to agree on.

    Args:
        path: The file for the dashboard.
        study: The study's name.

    Raises:
        StoreError: If it is a folder, or cannot be written.
    """

    def __init__(self, path: Path, study: str) -> None:
        self.path = path.with_name(f"{path.name}.{quote(study, safe='')}.facts")
        if path.is_dir():
            raise StoreError(f"{path} is a folder; a journal is a file: journal:{path / 'study.log'}")
        for place in (path.absolute(), self.path.absolute()):
            there = next(each for each in (place, *place.parents) if each.exists())
            if not os.access(there, os.W_OK):
                raise StoreError(f"cannot write {there}")

    def append(self, facts: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Write the facts as lines, in one go."""
        with self._reported():
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._reported(), self._locked() as stream:
            _cut_torn_tail(stream, self.path)
            lines = [{"at": time.time(), "kind": kind, "content": content} for kind, content in facts]
            content = "".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines).encode()
            whole = stream.seek(0, os.SEEK_END)
            try:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            except OSError:
                os.truncate(self.path, whole)  # all or none
                raise

    def read(self, after: int = -1) -> list[Fact]:
        """The facts of the whole lines that begin behind this place; lines that are damaged are left out."""
        with self._reported():
            if not self.path.exists():
                return []
            with self.path.open("rb") as stream:
                stream.seek(after + 1)
                content = stream.read()
        facts, end = [], after
        for line in content.split(b"\n")[:-1]:
            end += len(line) + 1
            fact = _fact(line, end)
            if fact is not None:
                facts.append(fact)
        return facts

    def now(self) -> float:
        """This machine's clock."""
        return time.time()

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        with self.path.open("a+b") as stream:
            end = time.monotonic() + _PATIENCE
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise StoreError(f"{self.path} is locked by another process, which does not go on") from None
                    time.sleep(0.002)
            yield stream

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"cannot use {self.path}: {error.strerror or error}") from error


def _fact(line: bytes, end: int) -> Fact | None:
    """The fact of a line whose last byte stands at `end`; None if the line is damaged."""
    try:
        row = json.loads(line)
        return Fact(end, float(row["at"]), str(row["kind"]), dict(row["content"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _cut_torn_tail(stream: IO[bytes], path: Path) -> None:
    """Move what follows the last line end into a file beside; the lock is held."""
    if stream.seek(0, os.SEEK_END) == 0:
        return
    stream.seek(-1, os.SEEK_END)
    if stream.read(1) == b"\n":
        return
    stream.seek(0)
    *lines, torn = stream.read().split(b"\n")
    with path.with_name(f"{path.name}.torn").open("ab") as kept:
        kept.write(torn + b"\n")
    stream.truncate(sum(len(line) + 1 for line in lines))
