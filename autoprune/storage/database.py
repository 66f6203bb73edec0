"""A log in a database: a file of SQLite for the processes of one machine, a PostgreSQL server between machines."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from autoprune.errors import MissingExtraError, StoreError, first_line
from autoprune.storage.base import Fact, Store
from autoprune.storage.urls import StorageUrl, redacted

__all__ = ["Database"]

_SECONDS_TO_CONNECT = 10
_SECONDS_OF_A_STATEMENT = 30

_FACTS = sql.Table(
    "autoprune_facts",
    sql.MetaData(),
    sql.Column("number", sql.BigInteger().with_variant(sql.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sql.Column("study", sql.String(512), nullable=False),
    sql.Column("at", sql.Float(53), nullable=False),
    sql.Column("kind", sql.String(32), nullable=False),
    sql.Column("content", sql.Text, nullable=False),
    sql.Index("autoprune_facts_of_study", "study", "number"),
    sqlite_autoincrement=True,
)

# Numbers are given out in the order in which rows become visible, or a reader would pass over some. One statement:
# a process that is stopped in the midst of it holds nothing.
_APPEND_POSTGRESQL = sql.text(
    """
    WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtextextended(:study, 0)))
    INSERT INTO autoprune_facts (study, at, kind, content)
    SELECT :study, extract(epoch FROM clock_timestamp()), row.value ->> 'kind', row.value ->> 'content'
    FROM locked, json_array_elements(CAST(:rows AS json)) WITH ORDINALITY AS row(value, place)
    ORDER BY row.place
    """
)


class Database(Store):
    """The facts of a study, a row each, in a table of our own beside those of Optuna.

    PostgreSQL dates facts by the server's clock, SQLite by this machine's.

    Args:
        url: Where.
        study: The study's name.

    Raises:
        StoreError: If the URL cannot be read.
        MissingExtraError: If its driver is not installed.
    """

    def __init__(self, url: StorageUrl, study: str) -> None:
        self._url, self._study = url, study
        self._ahead = 0.0  # of the server's clock before this machine's
        self.for_many = url.kind != "sqlite"
        self._engine = self._connected()
        self._known = False  # whether the table is there

    def append(self, facts: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Insert the facts in one statement."""
        rows = [{"kind": kind, "content": json.dumps(content, allow_nan=False)} for kind, content in facts]
        with self._reported():
            self._make_table()
        with self._reported(), self._engine.connect() as connection:
            if self.for_many:
                connection.execute(_APPEND_POSTGRESQL, {"study": self._study, "rows": json.dumps(rows)})
            else:
                stamped = [{**row, "study": self._study, "at": time.time()} for row in rows]
                with connection.begin():
                    connection.execute(_FACTS.insert(), stamped)

    def read(self, after: int = -1) -> list[Fact]:
        """Select the further rows of the study."""
        wanted = (
            sql.select(_FACTS.c.number, _FACTS.c.at, _FACTS.c.kind, _FACTS.c.content)
            .where(_FACTS.c.study == self._study, _FACTS.c.number > after)
            .order_by(_FACTS.c.number)
        )
        with self._reported():
            if not self._has_table():
                return []
        with self._reported(), self._engine.connect() as connection:
            if self.for_many:
                there = connection.execute(sql.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
                self._ahead = float(there) - time.time()
            rows = connection.execute(wanted).all()
        return [Fact(number, at, kind, json.loads(content)) for number, at, kind, content in rows]

    def now(self) -> float:
        """The server's clock."""
        return time.time() + self._ahead

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _connected(self) -> sql.Engine:
        if not self.for_many:
            return sql.create_engine(f"sqlite:///{self._url.place}", connect_args={"timeout": _SECONDS_TO_CONNECT})
        limits = f"-c statement_timeout={1000 * _SECONDS_OF_A_STATEMENT} -c lock_timeout={1000 * _SECONDS_TO_CONNECT}"
        try:
            return sql.create_engine(
                self._url.place,
                pool_pre_ping=True,
                isolation_level="AUTOCOMMIT",
                connect_args={"connect_timeout": _SECONDS_TO_CONNECT, "options": limits},
            )
        except ModuleNotFoundError as error:
            raise MissingExtraError("psycopg2", "distributed") from error
        except SQLAlchemyError as error:
            raise StoreError(f"--storage {self._url} cannot be read as a URL") from error

    def _has_table(self) -> bool:
        """Whether anything was ever written; a file of SQLite would be made by looking into it."""
        if not self._known and (self.for_many or Path(self._url.place).exists()):
            self._known = sql.inspect(self._engine).has_table(_FACTS.name)
        return self._known

    def _make_table(self) -> None:
        if self._has_table():
            return
        if not self.for_many:
            Path(self._url.place).parent.mkdir(parents=True, exist_ok=True)
        try:
            _FACTS.metadata.create_all(self._engine)
        except (sql.exc.IntegrityError, sql.exc.ProgrammingError, sql.exc.OperationalError):
            _FACTS.metadata.create_all(self._engine)  # another process made it at the same moment

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            why = getattr(error, "orig", None) or error
            raise StoreError(f"the storage {self._url} cannot be used: {redacted(first_line(why))}") from error
