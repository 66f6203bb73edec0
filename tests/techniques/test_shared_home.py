"""Candidates shared with workers: the scores of one process, whoever scores them and whatever is lost."""

import threading
import time

import pytest
import torch

from autoprune.errors import InputError, RunError
from autoprune.storage.board import Board
from autoprune.storage.journal import Journal
from autoprune.techniques.homes import shared as module
from autoprune.techniques.homes.base import ScoreJob
from autoprune.techniques.homes.inline import Inline
from autoprune.techniques.homes.leasing import Leasing
from autoprune.techniques.homes.packing import key_of, scored_from_json, scored_to_json
from autoprune.techniques.homes.shared import Shared
from tests.support.stores import InMemory, formula

JOBS = [ScoreJob({"a": n, "b": 2 * n}, None if n % 2 else torch.tensor([True, False, n > 3])) for n in range(12)]
EXPECTED = [formula(job) for job in JOBS]


def plain(found):
    return found.estimate, found.answers.tolist()


def coordinator(store, said=None, score=formula, seconds=5.0, study="one"):
    board = Board(store)
    board.begin({"id": study})
    home = Inline(score)
    say = (lambda text: None) if said is None else said.append
    return Shared(score, home, Leasing(board, home, "coordinator", seconds), say)


def worker(store, name, seconds=5.0, score=formula):
    return Leasing(Board(store), Inline(score), name, seconds)


def test_scores_and_candidates_survive_the_way_through_json():
    for job, found in zip(JOBS, EXPECTED, strict=True):
        again = scored_from_json(scored_to_json(found))
        assert plain(again) == plain(found)
        assert key_of(job) == key_of(ScoreJob(dict(reversed(list(job.choices.items()))), job.against))
    assert len({key_of(job) for job in JOBS}) == len(JOBS)
    assert key_of(ScoreJob({"a": 1})) != key_of(ScoreJob({"a": 1}, torch.tensor([False])))


def test_alone_and_with_workers_beside_the_scores_are_those_of_one_process(tmp_path):
    shares = []
    for count in (0, 1, 3):
        path, stop = tmp_path / f"log{count}", threading.Event()
        with coordinator(Journal(path, "s"), score=_slow) as home:
            workers = [worker(Journal(path, "s"), f"w{n}", score=_slow) for n in range(count)]
            threads = [threading.Thread(target=_serve, args=(each, stop)) for each in workers]
            for thread in threads:
                thread.start()
            home.begin(JOBS)
            assert [plain(home.score(job)) for job in JOBS] == [plain(each) for each in EXPECTED]
            stop.set()
            for thread in threads:
                thread.join()
        shares.append(sum(each.scored for each in workers))
    assert shares[0] == 0 and shares[1] > 0 and shares[2] > 4  # the workers really took part


def _slow(job):
    time.sleep(0.02)
    return formula(job)


def _serve(leasing, stop):
    while not stop.is_set():
        leasing.turn()
        time.sleep(0.002)


def test_a_candidate_of_a_worker_that_died_is_scored_when_its_lease_is_over():
    store = InMemory()
    home = coordinator(store)
    home.begin(JOBS[:2])
    home._publish(key_of(JOBS[0]), JOBS[0])
    dead = worker(store, "dead")
    dead.board.refresh()
    assert list(dead._taken(ordered=True)) == [key_of(JOBS[0])]
    threading.Timer(0.3, lambda: setattr(store, "time", store.time + 5.1)).start()
    begun = time.monotonic()
    assert plain(home.score(JOBS[0])) == plain(EXPECTED[0])
    assert time.monotonic() - begun > 0.25


def test_a_worker_that_slept_through_its_lease_goes_on_and_its_late_result_changes_nothing():
    store = InMemory()
    home = coordinator(store)
    home.begin(JOBS[:3])
    late = worker(store, "late", score=lambda job: _asleep(store, home, job))
    home._publish(key_of(JOBS[0]), JOBS[0])
    assert late.turn(ordered=True) == 1  # JOBS[0], which the coordinator scored meanwhile
    late._home = Inline(formula)
    assert late.turn(ordered=True) == 1 and late.undelivered == 0
    found = [fact.content["worker"] for fact in store.facts if fact.kind == "result"]
    assert sorted(found) == ["coordinator", "late", "late"]
    assert [plain(home.score(job)) for job in JOBS[1:3]] == [plain(each) for each in EXPECTED[1:3]]


def _asleep(store, home, job):
    store.time += 60
    assert plain(home.score(job)) == plain(formula(job))
    return formula(job)


def test_without_a_connection_nothing_is_held_up_and_results_are_handed_in_later(monkeypatch):
    monkeypatch.setattr(module, "_RETRY", 0.0)
    store, said = InMemory(), []
    home = coordinator(store, said)
    other = worker(store, "w", score=lambda job: _cut(store, job))
    home.begin(JOBS[:4])
    home._publish(key_of(JOBS[0]), JOBS[0])
    assert other.turn(ordered=True) == 1 and other.undelivered == 1  # the cable went while it scored
    assert plain(home.score(JOBS[0])) == plain(EXPECTED[0])
    assert plain(home.score(JOBS[1])) == plain(EXPECTED[1])
    store.down = False
    other.deliver()
    assert [plain(home.score(job)) for job in JOBS[2:4]] == [plain(each) for each in EXPECTED[2:4]]
    assert said == ["the cable is out; candidates are scored here until it can", "the storage can be used again"]
    board = Board(store)
    board.refresh()
    assert set(board.results) == {key_of(job) for job in JOBS[:4]} and other.undelivered == 0


def _cut(store, job):
    store.down = True
    return formula(job)


def test_what_a_worker_cannot_score_is_tried_by_the_coordinator():
    def broken(job):
        raise InputError("this machine has no memory left")

    store = InMemory()
    home = coordinator(store)
    home.begin(JOBS[:2])
    home._publish(key_of(JOBS[0]), JOBS[0])
    worker(store, "w", score=broken).turn(ordered=True)
    assert [plain(home.score(job)) for job in JOBS[:2]] == [plain(each) for each in EXPECTED[:2]]


def test_a_worker_of_a_run_before_scores_nothing_for_its_successor():
    store, asked = InMemory(), []
    first = coordinator(store)
    idle = worker(store, "idle", score=lambda job: asked.append(job.key) or wrong(job))
    assert idle.turn() == 0
    first.begin(JOBS[:1])
    first._publish(key_of(JOBS[0]), JOBS[0])
    busy = worker(store, "busy", score=lambda job: coordinator(store, study="two") and wrong(job))
    assert busy.turn() == 1  # it was at work when the study was begun anew
    second = coordinator(store, study="two")
    second.begin(JOBS[:1])
    second._publish(key_of(JOBS[0]), JOBS[0])
    for each in (busy, idle):
        with pytest.raises(RunError, match="begun anew"):
            each.turn()
    assert plain(second.score(JOBS[0])) == plain(EXPECTED[0]) and not asked
    with pytest.raises(RunError, match="begun anew"):
        first.score(JOBS[0])


def wrong(job):
    return formula(ScoreJob({name: kept + 1 for name, kept in job.choices.items()}, job.against))


def test_a_search_that_goes_on_finds_what_was_scored():
    store, asked = InMemory(), []
    with coordinator(store) as home:
        home.begin(JOBS[:3])
        home.score(JOBS[0])
    worker(store, "w").turn()
    again = coordinator(store, score=lambda job: asked.append(job.key) or formula(job))
    again.begin(JOBS[:3])
    assert [plain(again.score(job)) for job in JOBS[:3]] == [plain(each) for each in EXPECTED[:3]]
    assert len(asked) == 1
