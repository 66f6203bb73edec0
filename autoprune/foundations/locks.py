"""Locks of the kernel on files: they go when the process goes, however it goes. POSIX only."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["exclusive", "lock_now"]


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if it is missing; wait for another process that holds it.

    Raises:
        OSError: If the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def lock_now(path: Path) -> IO[str] | None:
    """The lock of a file, held until the file is closed; None if another process holds it.

    Child processes do not inherit it. A process is not kept from its own files.

    Raises:
        OSError: If the file cannot be made or locked.
    """
    handle = path.open("a")
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return None
        raise
    return handle
