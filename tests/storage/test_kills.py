"""Workers that are killed, put to sleep and cut off from their store: nothing is lost, nothing doubled."""

import collections
import os
import random
import signal
import threading
import time

import pytest

from autoprune.storage.board import Board
from autoprune.storage.registry import open_store
from autoprune.techniques.homes import shared
from autoprune.techniques.homes.base import ScoreJob
from autoprune.techniques.homes.inline import Inline
from autoprune.techniques.homes.leasing import Leasing
from autoprune.techniques.homes.packing import key_of
from autoprune.techniques.homes.shared import Shared
from tests.support.killable_workers import start
from tests.support.stores import Slow, formula

LEASE, ROUND = 1.0, 8
STORES = [pytest.param("journal", id="journal"), pytest.param("postgresql", id="postgresql")]

pytestmark = pytest.mark.distributed


@pytest.fixture(params=STORES)
def shared_url(request, tmp_path):
    return request.getfixturevalue("postgres").url if request.param == "postgresql" else f"journal:{tmp_path / 'log'}"


@pytest.fixture
def study(request):
    return f"{request.node.name} {os.getpid()}"


def coordinator(url, study, seconds, said=None):
    board = Board(open_store(url, study))
    board.begin({"id": "one"})
    score = Slow(seconds)
    leasing = Leasing(board, Inline(score), "coordinator", LEASE)
    return Shared(score, Inline(score), leasing, (lambda text: None) if said is None else said.append), board


def rounds(count):
    jobs = [ScoreJob({"a": n, "b": n // 3}) for n in range(count)]
    return [jobs[first : first + ROUND] for first in range(0, count, ROUND)]


def played(home, batches):
    found = []
    for jobs in batches:
        home.begin(jobs)
        found += [home.score(job).estimate.value for job in jobs]
    return found


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_random_kills_of_three_workers_lose_and_double_nothing(shared_url, study, kills):
    batches, done, killed, seconds = rounds(12 * kills), threading.Event(), [], 0.03
    home, board = coordinator(shared_url, study, seconds)
    names = iter(range(10**6))
    running = [start(shared_url, study, f"w{next(names)}", seconds, LEASE) for _ in range(3)]

    def kill():
        draw = random.Random(0)
        while not done.is_set() and len(killed) < kills:
            time.sleep(draw.uniform(0.02, 0.15))
            victim = running.pop(draw.randrange(3))
            victim.kill()
            victim.join()
            killed.append(victim.pid)
            running.append(start(shared_url, study, f"w{next(names)}", seconds, LEASE))
        done.wait()
        for process in running:
            process.join(10)
            process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        found = played(home, batches)
    finally:
        board.write("ended")
        done.set()
        thread.join()
    jobs = [job for jobs in batches for job in jobs]
    assert found == [formula(job).estimate.value for job in jobs]
    results = collections.Counter(
        fact.content["key"] for fact in open_store(shared_url, study).read() if fact.kind == "result"
    )
    assert set(results) == {key_of(job) for job in jobs} and len(killed) > kills / 3
    assert results.total() - len(jobs) <= len(killed)  # scored twice: at most what was in flight


def test_a_worker_that_sleeps_beyond_its_lease_holds_nobody_up_and_goes_on(shared_url, study, request):
    home, board = coordinator(shared_url, study, 0.0)
    sleeper = start(shared_url, study, "sleeper", 0.6, LEASE)
    request.addfinalizer(sleeper.kill)
    first, second = rounds(2 * ROUND)
    home.begin(first)
    home._publish(key_of(first[0]), first[0])
    _until(lambda: (board.refresh(), any(board.holder(key_of(job)) == "sleeper" for job in first))[1])
    time.sleep(0.15)  # it scores now
    os.kill(sleeper.pid, signal.SIGSTOP)
    begun = time.monotonic()
    assert [home.score(job).estimate.value for job in first] == [formula(job).estimate.value for job in first]
    assert time.monotonic() - begun <= 2 * LEASE + 1.0
    os.kill(sleeper.pid, signal.SIGCONT)
    home.begin(second)
    home._publish(key_of(second[0]), second[0])
    _until(lambda: (board.refresh(), sum(key_of(job) in board.results for job in second) >= 2)[1])  # by the sleeper
    assert sleeper.is_alive()
    assert [home.score(job).estimate.value for job in second] == [formula(job).estimate.value for job in second]
    board.write("ended")
    sleeper.join(10)
    assert sleeper.exitcode == 0


def _until(there, seconds=20.0):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_server_that_is_restarted_in_the_midst_holds_nothing_up(postgres, study, monkeypatch, request):
    monkeypatch.setattr(shared, "_RETRY", 0.2)
    said = []
    home, board = coordinator(postgres.url, study, 0.03, said)
    workers = [start(postgres.url, study, f"w{n}", 0.03, LEASE) for n in range(2)]
    for worker in workers:
        request.addfinalizer(worker.kill)
    stopping = threading.Timer(0.5, lambda: postgres.stop("immediate"))
    starting = threading.Timer(1.5, postgres.start)
    for timer in (stopping, starting):
        timer.start()
    batches = rounds(240)
    found = played(home, batches)
    for timer in (stopping, starting):
        timer.join()
    assert found == [formula(job).estimate.value for jobs in batches for job in jobs]
    assert "candidates are scored here" in said[0]
    _until(lambda: _written(board))
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0


def _written(board):
    from autoprune.errors import StoreError

    try:
        board.write("ended")
    except StoreError:
        return False
    return True
