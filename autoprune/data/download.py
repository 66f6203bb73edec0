"""Downloading a file once, whole, and only the right one."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import shutil
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from autoprune.errors import InputError
from autoprune.foundations.files import replacing

__all__ = ["fetch", "packed_sha256", "unpacked", "unpacked_sha256"]

TIMEOUT_S = 30


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
            _fetch_one(url, goal, checksum, digest)
        except (_NotThereError, InputError) as error:
            failures.append(str(error))
        else:
            return goal
    raise InputError(
        f"{goal.name} could not be downloaded ({'; '.join(dict.fromkeys(failures))});\n"
        f"put it into {goal.parent} yourself, or name its folder with --data-dir"
    )


class _NotThereError(Exception):
    """An address does not give the file; no OSError, which would be one of the folder written to."""


def _fetch_one(url: str, goal: Path, checksum: str, digest: Callable[[Path], str]) -> None:
    with replacing(goal) as beside:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as stream, beside.open("wb") as out:
                shutil.copyfileobj(stream, out)
        except (OSError, http.client.HTTPException) as error:  # urllib's URLError is an OSError
            raise _NotThereError(str(error)) from error
        try:
            found = digest(beside)
        except InputError as error:
            raise _NotThereError(f"{url} gave no gzipped file") from error
        if found != checksum:
            raise _NotThereError(f"{url} gave a file with another checksum")
