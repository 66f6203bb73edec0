"""Candidates of a shared study: taken on lease, scored at a home of this process, and handed in."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from autoprune.errors import InputError, StoreError, first_line
from autoprune.storage.board import Board
from autoprune.techniques.homes.base import Home, Scored
from autoprune.techniques.homes.packing import job_from_json, scored_to_json

__all__ = ["Leasing"]

_BEATS = 3  # signs of life in a lease's time


class Leasing:
    """One process's part in scoring the candidates of a study.

    It holds a candidate for the time of a lease, and longer as long as it lives. One that was stopped for longer
    finds that others took its candidates over: what it hands in is then equal to what is there, and is left. Without a
    connection it keeps what it has scored, and hands it in later.

    Args:
        board: The study.
        home: Scores the candidates.
        worker: This process's name in the study.
        seconds: Of a lease.
    """

    def __init__(self, board: Board, home: Home, worker: str, seconds: float) -> None:
        self.board, self.worker = board, worker
        self._home, self._seconds = home, seconds
        self._kept: list[tuple[str, Mapping[str, Any]]] = []
        self.scored = 0

    def turn(self, *, ordered: bool = False) -> int:
        """Score as many candidates as the home takes at once, if any are free.

        Args:
            ordered: Take the first ones; else begin at a place of the worker's own, so that few ask for the same.

        Returns:
            How many were scored.

        Raises:
            StoreError: If the study cannot be read, or nothing taken; what was scored before is kept.
            RunError: If it is another run's now.
        """
        self.deliver()
        self.board.refresh()
        self.board.refuse_successor()
        taken = self._taken(ordered)
        if not taken:
            return 0
        jobs = {key: job_from_json(row) for key, row in taken.items()}
        with self._alive():
            self._home.begin(list(jobs.values()))
            for key, job in jobs.items():
                try:
                    self.keep(key, self._home.score(job))
                except InputError as error:
                    self._kept.append(("failed", {"key": key, "worker": self.worker, "why": first_line(error)}))
                self.scored += 1
                with suppress(StoreError):
                    self.deliver()
        return len(jobs)

    def keep(self, key: str, found: Scored) -> None:
        """A score, to be handed in when the study can be reached."""
        self._kept.append(("result", {"key": key, "worker": self.worker, "scored": scored_to_json(found)}))

    def deliver(self) -> None:
        """Hand in what was scored.

        Raises:
            StoreError: If that is not possible now; it is kept.
        """
        if self._kept:
            self.board.write_all(self._kept)
            self._kept.clear()

    @property
    def undelivered(self) -> int:
        """Results that are not handed in yet."""
        return len(self._kept)

    def _taken(self, ordered: bool) -> dict[str, Mapping[str, Any]]:
        """Candidates that are this process's now, by key."""
        free = self.board.free()
        if not free:
            return {}
        first = 0 if ordered else zlib.crc32(self.worker.encode()) % len(free)
        asked = [*free[first:], *free[:first]][: self._home.capacity]
        self.board.write_all(
            [("lease", {"key": key, "worker": self.worker, "seconds": self._seconds}) for key in asked]
        )
        wanted = dict(self.board.wanted)
        self.board.refresh()
        return {key: wanted[key] for key in asked if self.board.holder(key) == self.worker}

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Beat, in the background, as long as the block takes."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self._seconds / _BEATS):
                with suppress(StoreError):  # the next one may come through
                    self.board.write("beat", worker=self.worker, seconds=self._seconds)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
