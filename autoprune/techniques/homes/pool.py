"""Candidates scored at the same time, in processes of one thread each on this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path

import torch

from autoprune.errors import InputError, first_line
from autoprune.foundations.files import replacing
from autoprune.techniques.homes.base import CandidateScore, Home, Scored, ScoreJob
from autoprune.techniques.homes.inline import Inline
from autoprune.techniques.homes.worker import Failure, Worker

__all__ = ["Pool"]

_Key = tuple[tuple[str, int], ...]

_DEATHS = 3  # of processes, for each worker, without an answer in between: they will not get further


class Pool(Home):
    """Scores candidates in several processes, which start when the first candidates come.

    The score is written to a file once, which every process maps: calibration statistics and images are in memory
    once. Each has a copy of the dense weights, which it cuts candidates from. A process that dies is replaced, and
    what it was scoring is scored again. What fails in a process is done again in this one, where it is reported as in
    a search without processes.

    Args:
        score: Scores one candidate; picklable.
        count: How many processes.
        path: Where the file lies while the processes run.
        what: The network, for messages.
    """

    def __init__(self, score: CandidateScore, count: int, path: Path, what: str) -> None:
        super().__init__(score)
        self._count, self._path, self._what = count, path, what
        self._here = Inline(score, threads=1)
        self._workers: list[Worker] = []
        self._waiting: deque[ScoreJob] = deque()
        self._found: dict[_Key, Scored | Failure] = {}
        self._deaths = 0
        self._written = False  # a file of a process that was killed is not this score

    @property
    def capacity(self) -> int:
        """As many as there are processes."""
        return self._count

    @property
    def pids(self) -> list[int | None]:
        """The processes that run now."""
        return [worker.pid for worker in self._workers]

    def begin(self, jobs: Sequence[ScoreJob]) -> None:
        """Hand candidates to the processes, the first ones at once."""
        self._waiting.extend(jobs)
        self._hand_out()

    def score(self, job: ScoreJob) -> Scored:
        """Wait for the score of a candidate that was begun; any other is scored in this process.

        Raises:
            InputError: If the processes cannot start or die again and again, or the candidate cannot be scored.
        """
        if not self._has(job):
            return self._here.score(job)
        while job.key not in self._found:
            self._take_answers()
        found = self._found.pop(job.key)
        return self._here.score(job) if isinstance(found, Failure) else found

    def close(self) -> None:
        """End all processes at once, and take the file away."""
        self._waiting.clear()
        self._found.clear()
        while self._workers:
            self._workers.pop().end()
        self._path.unlink(missing_ok=True)
        self._written = False

    def _has(self, job: ScoreJob) -> bool:
        under_way = [worker.job for worker in self._workers if worker.job is not None]
        return job.key in self._found or any(each.key == job.key for each in (*under_way, *self._waiting))

    def _hand_out(self) -> None:
        """Every process that has nothing to do gets a candidate."""
        while self._waiting and len(self._workers) < self._count:
            self._start()
        for worker in self._workers:
            if self._waiting and worker.job is None:
                worker.send(self._waiting.popleft())

    def _start(self) -> None:
        if not self._written:
            self._write()
        worker = Worker(self._path)
        self._workers.append(worker)
        worker.send(self._waiting.popleft())

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(self._path) as temporary:
                torch.save(self._score, temporary)
        except (OSError, InputError):
            raise
        except Exception as error:  # a network of the user's may refuse in any way
            raise InputError(
                f"--workers {self._count}: {self._what} and its score cannot be sent to another process"
                f" ({first_line(error)}); use --workers 1"
            ) from error
        self._written = True

    def _take_answers(self) -> None:
        """Wait until a process answers or dies, then keep them all busy."""
        ready = wait([worker.connection for worker in self._workers if worker.job is not None])
        for worker in [each for each in self._workers if each.connection in ready]:
            found = worker.receive()
            if found is None:
                self._replace(worker)
            elif isinstance(found, Failure) and found.starting:
                raise InputError(
                    f"--workers {self._count}: {self._what} cannot be rebuilt in another process ({found.why}); its"
                    " code must be importable there, a script needs `if __name__ == '__main__':`; or use --workers 1"
                )
            elif worker.job is not None:
                self._found[worker.job.key], worker.job = found, None
                self._deaths = 0
        self._hand_out()

    def _replace(self, worker: Worker) -> None:
        """A process died: its candidate comes first again."""
        self._workers.remove(worker)
        if worker.job is not None:
            self._waiting.appendleft(worker.job)
        code = worker.end()
        self._deaths += 1
        if self._deaths >= _DEATHS * self._count:
            raise InputError(
                f"--workers {self._count}: {self._deaths} processes ended before they scored a candidate (exit code"
                f" {code}; of a script without `if __name__ == '__main__':`, or for lack of memory); use fewer"
            )
