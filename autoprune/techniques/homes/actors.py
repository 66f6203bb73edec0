"""Candidates scored by the actors of a Ray cluster, on this machine or on many."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import Any

from autoprune.errors import InputError, first_line
from autoprune.techniques.homes.base import CandidateScore, Home, Scored, ScoreJob
from autoprune.techniques.homes.cluster import connect, require_ray
from autoprune.techniques.homes.inline import Inline
from autoprune.techniques.homes.worker import Failure, answer, numerics, packed, scored, use_numerics

__all__ = ["Actors"]

_RESTARTS, _RETRIES = -1, 3  # Ray's defaults are none of either, and the first dead actor ends a program


class Actors(Home):
    """Scores candidates in actors of one thread each, which start when the first candidates come.

    The score is put into the cluster once, and each actor makes its copy. An actor that dies is restarted by Ray, and
    what it was scoring is scored again; what fails there after all is scored in this process, where it is reported as
    in a search without actors. Ray sends code as pickles: a cluster is as trusted as whoever can reach it.

    Args:
        score: Scores one candidate; picklable, its modules importable on every machine of the cluster.
        address: Of the cluster; `auto` for the one that this machine belongs to, `local` to start one here.
        count: How many actors; 1 for as many as the cluster has processors.
        most: Actors at most: more than a round has candidates would have nothing to do.

    Raises:
        MissingExtraError: If Ray is not installed.
    """

    def __init__(self, score: CandidateScore, address: str, count: int, most: int) -> None:
        super().__init__(score)
        require_ray()
        self._address, self._count, self._most = address, count, most
        self._here = Inline(score, threads=1)
        self._actors: list[Any] = []
        self._content: Any = None
        self._ours = False  # whether this object connected to the cluster
        self._waiting: deque[ScoreJob] = deque()
        self._under_way: dict[Any, tuple[ScoreJob, Any]] = {}  # Ray's reference -> the candidate and its actor
        self._found: dict[tuple[tuple[str, int], ...], Scored | Failure] = {}

    @property
    def capacity(self) -> int:
        """As many as there are actors; the cluster is connected to."""
        self._start()
        return len(self._actors)

    def begin(self, jobs: Sequence[ScoreJob]) -> None:
        """Hand candidates to the actors, the first ones at once."""
        self._start()
        self._waiting.extend(jobs)
        self._hand_out()

    def score(self, job: ScoreJob) -> Scored:
        """Wait for the score of a candidate that was begun; any other is scored in this process.

        Raises:
            InputError: If the candidate cannot be scored.
        """
        known = [each for each, _ in self._under_way.values()]
        if job.key not in self._found and all(each.key != job.key for each in (*known, *self._waiting)):
            return self._here.score(job)
        while job.key not in self._found:
            self._take_answers()
        found = self._found.pop(job.key)
        return self._here.score(job) if isinstance(found, Failure) else found

    def close(self) -> None:
        """End the actors; a cluster that was started here ends, too."""
        if not self._actors:
            return
        import ray

        for actor in self._actors:
            ray.kill(actor)
        for each in (self._actors, self._waiting, self._under_way, self._found):
            each.clear()
        self._content = None
        if self._ours:
            ray.shutdown()

    def _start(self) -> None:
        if self._actors:
            return
        import ray

        try:
            self._ours = connect(self._address, self._count) or self._ours
            kind = ray.remote(num_cpus=1, max_restarts=_RESTARTS, max_task_retries=_RETRIES)(_Scorer)
            self._content = ray.put(self._score)  # there as long as actors may be restarted
        except InputError:
            raise
        except Exception as error:  # Ray and users' networks raise what they like
            raise InputError(f"--ray {self._address}: {first_line(error)}") from error
        count = int(ray.cluster_resources().get("CPU", 1)) if self._count == 1 else self._count
        self._actors = [kind.remote([self._content], numerics()) for _ in range(max(1, min(count, self._most)))]

    def _hand_out(self) -> None:
        busy = {id(actor) for _, actor in self._under_way.values()}
        for actor in self._actors:
            if self._waiting and id(actor) not in busy:
                job = self._waiting.popleft()
                reference = actor.score.remote(dict(job.choices), packed(job.against))
                self._under_way[reference] = (job, actor)

    def _take_answers(self) -> None:
        """Wait until an actor answers or is given up, then keep them all busy."""
        import ray

        ready, _ = ray.wait(list(self._under_way), num_returns=1)
        for reference in ready:
            job, _ = self._under_way.pop(reference)
            try:
                self._found[job.key] = scored(ray.get(reference))
            except Exception as error:  # noqa: BLE001 - of an actor that died too often, or of its network
                self._found[job.key] = Failure(first_line(error))
        self._hand_out()


class _Scorer:
    """What an actor holds.

    Args:
        content: Ray's reference to the score, in a list: Ray would look it up itself, and not again after a restart.
        computing: As of `numerics`.
    """

    def __init__(self, content: list[Any], computing: dict[str, Any]) -> None:
        import ray

        use_numerics(computing)
        self._score: CandidateScore = ray.get(content[0])

    def pid(self) -> int:
        """The process."""
        return os.getpid()

    def score(self, choices: dict[str, int], against: Any) -> Any:
        """Plain values of a candidate's score, or why it has none."""
        return answer(self._score, choices, against)
