"""Candidates scored by the workers of a study, on other machines perhaps, and in this process meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from autoprune.errors import StoreError, first_line
from autoprune.techniques.homes.base import CandidateScore, Home, Scored, ScoreJob
from autoprune.techniques.homes.leasing import Leasing
from autoprune.techniques.homes.packing import job_to_json, key_of, scored_from_json

__all__ = ["Shared", "pauses"]

_SHORTEST, _LONGEST = 0.01, 0.5  # seconds between two looks at the store
_RETRY = 5.0  # seconds until a store that could not be reached is tried again


class Shared(Home):
    """The coordinator's home: it publishes a round's candidates, and scores what nobody else has taken.

    What a search plays depends on its rounds alone, never on who scored what, or when. A store that cannot be reached
    holds nothing up: candidates are scored here, and the results are handed in later.

    Args:
        score: Scores one candidate.
        home: Where this process scores candidates itself.
        leasing: Its part in the study, at that home.
        say: Told, once each time, that the store cannot be reached, and that it can be again.
    """

    def __init__(self, score: CandidateScore, home: Home, leasing: Leasing, say: Callable[[str], None]) -> None:
        super().__init__(score)
        self._home, self._leasing, self._say = home, leasing, say
        self._begun: dict[str, ScoreJob] = {}
        self._published = True
        self._lost_until: float | None = None

    def begin(self, jobs: Sequence[ScoreJob]) -> None:
        """Publish candidates; those that the study has the scores of are there at once."""
        self._begun = {key_of(job): job for job in jobs}
        self._published = False

    def score(self, job: ScoreJob) -> Scored:
        """The score of a candidate that was begun, whoever scores it; any other is scored in this process."""
        key = key_of(job)
        if key not in self._begun:
            return self._home.score(job)
        del self._begun[key]
        waits = pauses(_LONGEST)
        while True:
            found, worked = self._looked(key, job)
            if found is not None:
                return found
            if worked:
                waits = pauses(_LONGEST)
            else:
                time.sleep(next(waits))

    def close(self) -> None:
        """End what runs in this process; workers go on waiting."""
        self._begun.clear()
        self._home.close()

    def _looked(self, key: str, job: ScoreJob) -> tuple[Scored | None, bool]:
        """The score if it is there, and whether anything was scored here meanwhile."""
        if self._lost_until is not None and time.monotonic() < self._lost_until:
            return self._here(key, job), True
        board = self._leasing.board
        try:
            self._publish(key, job)
            board.refresh()
            board.refuse_successor()
            self._note_reached()
            if key in board.results:
                return scored_from_json(board.results[key]), False
            if key in board.failures:  # it is reported as in a search without workers
                return self._here(key, job), True
            return None, self._leasing.turn(ordered=True) > 0
        except StoreError as error:
            self._note_lost(error)
            return self._here(key, job), True

    def _here(self, key: str, job: ScoreJob) -> Scored:
        found = self._home.score(job)
        self._leasing.keep(key, found)
        return found

    def _publish(self, key: str, job: ScoreJob) -> None:
        if not self._published:
            board = self._leasing.board
            board.refresh()
            jobs = {key: job, **self._begun}
            missing = {each: job_to_json(other) for each, other in jobs.items() if each not in board.results}
            if missing:
                board.write("wanted", jobs=missing)
            self._published = True

    def _note_lost(self, error: StoreError) -> None:
        if self._lost_until is None:
            self._say(f"{first_line(error)}; candidates are scored here until it can")
        self._lost_until = time.monotonic() + _RETRY

    def _note_reached(self) -> None:
        if self._lost_until is not None:
            self._say("the storage can be used again")
        self._lost_until = None


def pauses(longest: float) -> Iterator[float]:
    """Seconds to wait, again and again: ever longer ones."""
    pause = _SHORTEST
    while True:
        yield pause
        pause = min(longest, 1.5 * pause)
