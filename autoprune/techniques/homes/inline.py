"""Candidates scored one after the other in this process."""

from __future__ import annotations

from autoprune.foundations.threads import use_threads
from autoprune.techniques.homes.base import CandidateScore, Home, Scored, ScoreJob

__all__ = ["Inline"]


class Inline(Home):
    """Scores a candidate when it is asked for.

    Args:
        score: Scores one candidate.
        threads: Torch's threads meanwhile: 1 gives what a worker process of one thread gives, to the last bit. As many
            as there are if not given.
    """

    def __init__(self, score: CandidateScore, threads: int | None = None) -> None:
        super().__init__(score)
        self._threads = threads

    def score(self, job: ScoreJob) -> Scored:
        """Score it now."""
        with use_threads(self._threads):
            return self._score(job)
