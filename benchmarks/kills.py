"""Workers that are killed at random: our study beside Optuna's own `study.optimize`, on the same storage.

    python -m benchmarks.kills journal:/tmp/kills --kills 20
    python -m benchmarks.kills postgresql+psycopg2://USER@HOST/DATABASE --kills 20

Three workers, each candidate of 0.2 s; the one that has scored for longest is killed with SIGKILL, and replaced. Optuna
is used as its documentation has it: heartbeats of a second and `RetryHeartbeatStaleTrialCallback` on a database (a
journal offers none), until as many trials are complete as were wanted.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import random
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import Any

import optuna

from autoprune.run.score import Estimate
from autoprune.storage.board import Board
from autoprune.storage.registry import open_store
from autoprune.storage.urls import StorageUrl
from autoprune.techniques.homes.base import Scored, ScoreJob
from autoprune.techniques.homes.inline import Inline
from autoprune.techniques.homes.leasing import Leasing
from autoprune.techniques.homes.packing import key_of
from autoprune.techniques.homes.shared import Shared

WORKERS, SECONDS, LEASE, ROUND = 3, 0.2, 1.0, 8


@dataclass(frozen=True)
class Kills:
    """How many workers are killed.

    Attributes:
        count: In all.
        pause: Seconds between two, on average: workers need time to import what they run.
    """

    count: int
    pause: float


_SPAWN = multiprocessing.get_context("spawn")


def score(job: ScoreJob) -> Scored:
    """Of a candidate, after a while."""
    time.sleep(SECONDS)
    return Scored(Estimate(sum(job.choices.values()) / 1000))


def our_worker(url: str, study: str, name: str, ready: Event) -> None:
    """Take candidates until the search is over."""
    board = Board(open_store(url, study))
    leasing = Leasing(board, Inline(score), name, LEASE)
    ready.set()
    while not board.ended:
        board.refresh()
        if not leasing.turn():
            time.sleep(0.02)


def our_search(url: str, study: str, count: int, kills: Kills) -> None:
    """Score so many candidates in rounds, and print what became of them."""
    board = Board(open_store(url, study))
    board.begin({"id": study})
    home = Shared(score, Inline(score), Leasing(board, Inline(score), "coordinator", LEASE), print)
    jobs = [ScoreJob({"a": n, "b": n // 3}) for n in range(count)]
    with _killed(our_worker, url, study, kills) as killed:
        for first in range(0, count, ROUND):
            home.begin(jobs[first : first + ROUND])
            for job in jobs[first : first + ROUND]:
                home.score(job)
        board.write("ended")
    facts = [fact for fact in open_store(url, study).read() if fact.kind == "result"]
    found = collections.Counter(str(fact.content["key"]) for fact in facts)
    missing = len({key_of(job) for job in jobs} - set(found))
    print(f"ours: {killed.count} kills, {count} wanted, {missing} missing, {found.total() - count} scored twice")


def plain_storage(url: str) -> Any:
    """Optuna's storage, with heartbeats where it has any."""
    parsed = StorageUrl.parse(url)
    if parsed.kind == "journal":
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(parsed.place))
    retry = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3)
    return optuna.storages.RDBStorage(url, heartbeat_interval=1, grace_period=2, heartbeat_stale_trial_callback=retry)


def plain_worker(url: str, study: str, name: str, ready: Event) -> None:
    """`study.optimize` until as many trials are complete as the study says."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    opened = optuna.load_study(study_name=study, storage=plain_storage(url), sampler=optuna.samplers.RandomSampler())
    wanted = optuna.study.MaxTrialsCallback(opened.user_attrs["wanted"], states=(optuna.trial.TrialState.COMPLETE,))

    def objective(trial: optuna.Trial) -> float:
        time.sleep(SECONDS)
        return trial.suggest_int("a", 0, 10**6) / 1000

    ready.set()
    opened.optimize(objective, callbacks=[wanted])


def plain_search(url: str, study: str, count: int, kills: Kills) -> None:
    """The same with Optuna alone."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    opened = optuna.create_study(study_name=study, storage=plain_storage(url))
    opened.set_user_attr("wanted", count)
    complete = optuna.trial.TrialState.COMPLETE
    with _killed(plain_worker, url, study, kills) as killed:
        while len(opened.get_trials(deepcopy=False, states=(complete,))) < count:
            time.sleep(0.5)
        time.sleep(4.0)  # longer than the grace time of a heartbeat
    states = collections.Counter(trial.state.name.lower() for trial in opened.get_trials(deepcopy=False))
    others = ", ".join(f"{number} {name}" for name, number in states.items())
    print(f"study.optimize: {killed.count} kills, {count} wanted; trials: {others}; {killed.crashed} workers crashed")


class _killed:
    """Around a search: three workers, killed at random and replaced, until so many kills are done."""

    def __init__(self, work: Callable[..., None], url: str, study: str, kills: Kills) -> None:
        self._work, self._url, self._study = work, url, study
        self._kills, self._pause = kills.count, kills.pause
        self.count = self.crashed = 0
        self._ready: dict[BaseProcess, Event] = {}  # set once a worker scores
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._all)

    def __enter__(self) -> _killed:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _all(self) -> None:
        draw, running = random.Random(0), [self._started() for _ in range(WORKERS)]
        while not self._done.wait(draw.uniform(0.5, 1.5) * self._pause):
            fallen = [worker for worker in running if worker.exitcode not in (None, 0)]
            self.crashed += len(fallen)
            running = [worker for worker in running if worker not in fallen]
            working = [worker for worker in running if self._ready[worker].is_set()]
            if self.count < self._kills and working and not self._done.is_set():
                working[0].kill()
                working[0].join()
                running.remove(working[0])
                self.count += 1
            running += [self._started() for _ in range(WORKERS - len(running))]
        for worker in running:
            worker.join(10)
            worker.kill()

    def _started(self) -> BaseProcess:
        ready, name = _SPAWN.Event(), uuid.uuid4().hex
        worker = _SPAWN.Process(target=self._work, args=(self._url, self._study, name, ready), daemon=True)
        worker.start()
        self._ready[worker] = ready
        return worker


def main() -> None:
    """Both, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--candidates", type=int, default=600)
    parser.add_argument("--pause", type=float, default=3.0)
    given = parser.parse_args()
    for search in (our_search, plain_search):
        search(given.storage, f"kills-{uuid.uuid4().hex[:8]}", given.candidates, Kills(given.kills, given.pause))


if __name__ == "__main__":
    main()
