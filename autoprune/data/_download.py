"""Downloading a file once, whole, and only the right one."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from autoprune.errors import InputError
from autoprune.foundations.files import cache_folder

__all__ = ["cache_dir", "fetch", "packed_sha256", "unpacked", "unpacked_sha256"]

TIMEOUT_S = 30


cache_dir = cache_folder
"""Where downloaded data sets stay."""


def unpacked(path: Path) -> bytes:
    """What a gzipped file holds.

    Raises:
        InputError: If it cannot be read or is damaged.
    """
    try:
        with gzip.open(path) as stream:
            return stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def unpacked_sha256(path: Path) -> str:
    """SHA-256 of what a gzipped file holds, in hexadecimal.

    Raises:
        InputError: If it cannot be unpacked.
    """
    return hashlib.sha256(unpacked(path)).hexdigest()


def packed_sha256(path: Path) -> str:
    """SHA-256 of a file as it lies there, in hexadecimal.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def fetch(urls: Sequence[str], goal: Path, checksum: str, *, digest: Callable[[Path], str] = unpacked_sha256) -> Path:
    """Downloads a file from the first address that has it.

    The file appears under its name only when it is complete and has the checksum; a file that is there already is
    not loaded again.

    Args:
        urls: Addresses, tried in order.
        goal: Where it goes; missing folders are made.
        checksum: What `digest` must say of the file.
        digest: Its checksum; by default that of a gzipped file's content.

    Returns:
        `goal`.

    Raises:
        InputError: If no address gives the file.
    """
    if goal.is_file():
        return goal
    failures = []
    for url in urls:
        try:
            goal.parent.mkdir(parents=True, exist_ok=True)
            failure = _fetch_one(url, goal, checksum, digest)
        except (OSError, http.client.HTTPException) as error:  # urllib's URLError is an OSError
            failure = str(error)
        if failure is None:
            return goal
        failures.append(failure)
    raise InputError(
        f"{goal.name} could not be downloaded ({'; '.join(dict.fromkeys(failures))});\n"
        f"put it into {goal.parent} yourself, or name its folder with --data-dir"
    )


def _fetch_one(url: str, goal: Path, checksum: str, digest: Callable[[Path], str]) -> str | None:
    """Downloads beside the goal and renames; what went wrong, or None."""
    handle, name = tempfile.mkstemp(dir=goal.parent, prefix=f".{goal.name}.")
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as out, urllib.request.urlopen(url, timeout=TIMEOUT_S) as stream:
            shutil.copyfileobj(stream, out)
        if digest(beside) != checksum:
            return f"{url} gave a file with another checksum"
        beside.chmod(0o644)  # mkstemp's files are the owner's alone
        beside.replace(goal)
        return None
    except InputError:
        return f"{url} gave no gzipped file"
    finally:
        beside.unlink(missing_ok=True)
