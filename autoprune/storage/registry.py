"""Opens a study's log by its URL."""

from __future__ import annotations

from pathlib import Path

from autoprune.storage.base import Store
from autoprune.storage.journal import Journal
from autoprune.storage.urls import StorageUrl

__all__ = ["open_store"]


def open_store(url: str, study: str) -> Store:
    """The log of a study; nothing is made or reached before it is read or written to.

    Args:
        url: As users write it.
        study: The study's name.

    Raises:
        InputError: If the URL is none.
        StoreError: If the URL of a database cannot be read.
        MissingExtraError: If the driver of a database is not installed.
    """
    where = StorageUrl.parse(url)
    if where.kind == "journal":
        return Journal(Path(where.place), study)
    from autoprune.storage.database import Database

    return Database(where, study)
