"""Who scores what, and that late, doubled and lost results are harmless."""

import pytest

from autoprune.errors import RunError
from autoprune.storage.board import Board
from tests.support.stores import InMemory

JOBS = {key: {"choices": {"a": n}, "against": None} for n, key in enumerate(["k0", "k1", "k2"])}


@pytest.fixture
def board():
    board = Board(InMemory())
    board.begin({"id": "one", "settings": {}})
    board.write("wanted", jobs=JOBS)
    board.refresh()
    return board


def lease(board, key, worker, seconds=10.0):
    board.write("lease", key=key, worker=worker, seconds=seconds)
    board.refresh()


def test_the_first_lease_of_a_free_candidate_counts_until_it_is_over(board):
    assert board.free() == ["k0", "k1", "k2"]
    lease(board, "k0", "a")
    lease(board, "k0", "b")
    assert board.holder("k0") == "a" and board.free() == ["k1", "k2"]
    board.store.time += 10.1
    assert board.free() == ["k0", "k1", "k2"]
    lease(board, "k0", "b")
    assert board.holder("k0") == "b" and "k0" not in board.free()


def test_signs_of_life_prolong_a_lease_but_do_not_take_one_back(board):
    lease(board, "k0", "a")
    board.store.time += 8
    board.write("beat", worker="a", seconds=10.0)
    board.refresh()
    board.store.time += 8
    assert "k0" not in board.free()
    board.store.time += 8
    lease(board, "k0", "b")
    board.write("beat", worker="a", seconds=10.0)
    board.refresh()
    assert board.holder("k0") == "b"


def test_the_first_result_stays_whoever_brings_another(board):
    lease(board, "k0", "a")
    board.store.time += 100
    lease(board, "k0", "b")
    board.write("result", key="k0", worker="b", scored={"value": 1})
    board.write("result", key="k0", worker="a", scored={"value": 1})
    board.write("failed", key="k0", worker="a", why="late")
    board.write("wanted", jobs=JOBS)
    board.refresh()
    assert board.results == {"k0": {"value": 1}} and not board.failures
    assert list(board.wanted) == ["k1", "k2"] and board.holder("k0") is None


def test_what_a_worker_could_not_score_is_not_wanted_until_it_is_asked_for_again(board):
    board.write("failed", key="k1", worker="a", why="no memory")
    board.refresh()
    assert board.failures == {"k1": "no memory"} and list(board.wanted) == ["k0", "k2"]
    board.write("wanted", jobs={"k1": JOBS["k1"]})
    board.refresh()
    assert not board.failures and list(board.wanted) == ["k0", "k2", "k1"]


def test_a_run_that_goes_on_keeps_its_results_and_another_one_begins_anew(board):
    board.write("result", key="k0", worker="a", scored={"value": 1})
    board.write("ended")
    board.refresh()
    assert board.ended
    board.begin({"id": "one", "settings": {}})
    board.refresh()
    assert not board.ended and "k0" in board.results
    board.begin({"id": "two", "settings": {}})
    board.write("something of a newer version")
    board.refresh()
    assert not board.results and not board.wanted and board.contract["id"] == "two"


def test_what_processes_of_a_run_before_write_counts_nowhere_and_they_are_refused(board):
    worker = Board(board.store)
    worker.refresh()
    worker.refuse_successor()
    board.begin({"id": "two", "run": "runs/two", "host": "h"})
    board.write("wanted", jobs=JOBS)
    worker.write("lease", key="k0", worker="a", seconds=10.0)  # it has not read on
    worker.write("result", key="k0", worker="a", scored={"value": 1})
    worker.write("failed", key="k1", worker="a", why="no memory")
    worker.write("ended")
    board.refresh()
    assert board.free() == list(JOBS) and not board.results and not board.failures and not board.ended
    worker.refresh()
    worker.write("result", key="k0", worker="a", scored={"value": 1})
    board.refresh()
    board.refuse_successor()
    assert not board.results
    with pytest.raises(
        RunError, match=r"^the study was begun anew by the run runs/two on h; start this process again$"
    ):
        worker.refuse_successor()


def test_every_process_that_has_read_as_far_sees_the_same(board):
    lease(board, "k0", "a")
    lease(board, "k1", "b")
    board.write("result", key="k1", worker="b", scored={"value": 2})
    board.refresh()
    other = Board(InMemory(board.store.facts))
    other.refresh()
    assert other._state == board._state
