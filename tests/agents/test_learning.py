"""Agents that learn beat chance where the optimum is known."""

import numpy as np
import pytest
import torch

from autoprune import agents
from autoprune.agents import best, run_search
from autoprune.envs import largest_uniform, toy


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def search(name, t, episodes, **options):
    agent = agents.get(name)(t.env(), episodes=episodes, **options)
    return run_search(agent, episodes, lambda _: None)


@pytest.mark.parametrize("coupled", [True, False])
def test_tpe_comes_close_to_the_optimum(coupled):
    t = toy(5, coupled=coupled)
    optimum, uniform = t.optimum()[0], t.score(largest_uniform(t.cost, t.limit))
    found = best(search("optuna", t, 80))[0].accuracy
    assert uniform < found <= optimum + 1e-12
    assert optimum - found < 0.2 * (optimum - uniform)


@pytest.mark.parametrize("name", ["ddpg", "optuna"])
def test_learners_end_above_the_median_of_random(name):
    t = toy(5)
    chance = np.median([record.accuracy for record in search("random", t, 80)])
    learned = [record.accuracy for record in search(name, t, 80)]
    optimum = t.optimum()[0]
    assert np.mean(learned[-15:]) > chance + 0.25 * (optimum - chance)
    assert max(learned) > chance


def test_random_spends_the_budget_and_beats_uniform_in_the_end():
    t = toy(6)
    records = search("random", t, 100)
    assert np.median([record.predicted_cost for record in records]) > 0.9 * t.limit
    assert best(records)[0].accuracy > t.score(largest_uniform(t.cost, t.limit))


@pytest.mark.parametrize("name", ["ddpg", "ddpg@neighbours=0", "evolution", "optuna"])
def test_agents_seldom_play_again_what_was_played(name):
    """Whoever settles on few policies plays neighbours of the best ones in place of repetitions."""
    t = toy(6, options=4, seed=3)
    records = search(name, t, 60, warmup=10, seed=0, **agents.options_of(name))
    learned = [tuple(record.choices.values()) for record in records[10:]]
    assert len(set(learned)) >= 45
    assert all(record.predicted_cost <= t.limit for record in records)
