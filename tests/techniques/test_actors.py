"""Candidates in the actors of a Ray cluster: the scores of one process, though actors die."""

import importlib.util
import os
import signal
import threading
import time

import pytest
import torch

from autoprune.errors import InputError, MissingExtraError
from autoprune.techniques.homes import cluster
from autoprune.techniques.homes.actors import Actors
from autoprune.techniques.homes.base import ScoreJob
from autoprune.techniques.homes.cluster import require_ray
from tests.support.stores import Slow, formula

JOBS = [ScoreJob({"a": n, "b": 2 * n}, None if n % 2 else torch.tensor([True, False, n > 3])) for n in range(24)]

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


def plain(found):
    return found.estimate, found.answers.tolist()


def test_without_ray_one_line_names_the_extra(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"^ray is not installed; .*autoprune\[distributed\]"):
        require_ray()
    with pytest.raises(MissingExtraError):
        Actors(formula, "local", 2, 8)


@needs_ray
@pytest.mark.distributed
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_actors_that_are_killed_lose_nothing_and_failures_are_those_of_this_process():
    with Actors(Slow(0.15), "local", 2, 8) as home:
        assert home.capacity == 2
        home.begin(JOBS)
        killed, done = [], threading.Event()
        thread = threading.Thread(target=_kill_now_and_then, args=(home._actors, killed, done))
        thread.start()
        try:
            found = [plain(home.score(job)) for job in JOBS]
        finally:
            done.set()
            thread.join()
        assert found == [plain(formula(job)) for job in JOBS]
        assert killed
        home.begin([ScoreJob({"a": -1})])
        with pytest.raises(InputError, match="cannot be scored"):
            home.score(ScoreJob({"a": -1}))
        assert plain(home.score(ScoreJob({"a": 99}))) == plain(formula(ScoreJob({"a": 99})))  # not begun


def _kill_now_and_then(actors_of_home, killed, done):
    import ray

    victims = [ray.get(actor.pid.remote()) for actor in actors_of_home]
    while not done.wait(1.0) and len(killed) < 2:
        victim = victims[len(killed) % len(victims)]
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)
        time.sleep(0.1)


@needs_ray
@pytest.mark.distributed
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_cannot_be_reached_is_one_line():
    with pytest.raises(InputError, match=r"^--ray 127\.0\.0\.1:1: ") as caught:
        Actors(formula, "127.0.0.1:1", 2, 8).begin(JOBS[:1])
    assert "\n" not in str(caught.value)
