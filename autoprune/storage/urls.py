"""What users write behind `--storage`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from autoprune.errors import InputError

__all__ = ["FORMS", "StorageUrl", "redacted"]

FORMS = "sqlite:///FILE, postgresql+psycopg2://USER@HOST/DATABASE or journal:FILE"
"""What can be written, for messages."""

_SECRET = re.compile(r"(?<=://)([^/@\s:]*):(\S*)@")


@dataclass(frozen=True)
class StorageUrl:
    """A place where a study is kept.

    Attributes:
        kind: `sqlite`, `postgresql` or `journal`.
        place: The file, or the whole URL of a database server.
    """

    kind: str
    place: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user wrote.

        Raises:
            InputError: If it is none of the forms; a password is not repeated.

        >>> StorageUrl.parse("journal:study.log")
        StorageUrl(kind='journal', place='study.log')
        """
        for kind, start in (("journal", "journal:"), ("sqlite", "sqlite:///")):
            if text.startswith(start) and text.removeprefix(start).strip():
                return cls(kind, text.removeprefix(start))
        scheme, sign, rest = text.partition("://")
        if sign and rest and scheme in ("postgresql", "postgresql+psycopg2"):
            return cls("postgresql", f"postgresql+psycopg2://{rest}")
        raise InputError(f"{redacted(text)} is no storage; write {FORMS}")

    def __str__(self) -> str:
        start = {"journal": "journal:", "sqlite": "sqlite:///"}.get(self.kind, "")
        return redacted(f"{start}{self.place}")

    @property
    def without_password(self) -> str:
        """The URL as files and other people may see it; libpq then takes the password from PGPASSWORD or ~/.pgpass."""
        return _SECRET.sub(r"\1@", str(self)) if self.kind != "postgresql" else _SECRET.sub(r"\1@", self.place)


def redacted(text: str) -> str:
    """A text, without the passwords of the URLs in it.

    >>> redacted("postgresql://me:secret@host/db")
    'postgresql://me:***@host/db'
    """
    return _SECRET.sub(r"\1:***@", text)
