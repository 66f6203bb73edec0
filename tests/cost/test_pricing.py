"""Prices of changed policies: equal to pricing the whole policy again, by whichever road."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.cost import additive
from tests.support.random_costs import random_cost


@given(seed=st.integers(0, 10_000), changes=st.dictionaries(st.integers(0, 4), st.integers(0, 2), max_size=5))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_a_changed_policy_costs_what_the_whole_costs(seed, changes):
    cost = random_cost(seed)
    before = np.random.default_rng(seed).integers(0, 3, 5).tolist()
    after = [changes.get(d, option) for d, option in enumerate(before)]
    total = float(cost.costs(np.array([before]))[0])
    assert cost.reprice(before, total, changes) == pytest.approx(float(cost.costs(np.array([after]))[0]), rel=1e-12)


def test_a_walk_of_many_changes_does_not_drift():
    cost, draw = random_cost(1), np.random.default_rng(1)
    now = [0] * 5
    total = float(cost.costs(np.array([now]))[0])
    for _ in range(5000):
        d, option = int(draw.integers(5)), int(draw.integers(3))
        total = cost.reprice(now, total, {d: option})
        now[d] = option
    assert total == pytest.approx(float(cost.costs(np.array([now]))[0]), rel=1e-10)


def test_entries_that_are_too_large_for_a_table_are_repriced_too(monkeypatch):
    plain = random_cost(2)
    monkeypatch.setattr(additive, "_TABLE_LIMIT", 3)  # no pair of decisions gets a table
    called = random_cost(2)
    assert any(term.table is None for term in called.terms)
    total = float(plain.costs(np.array([[0, 1, 2, 0, 1]]))[0])
    for changes in ({0: 2}, {1: 0, 4: 2}):
        expected = plain.reprice([0, 1, 2, 0, 1], total, changes)
        assert called.reprice([0, 1, 2, 0, 1], total, changes) == pytest.approx(expected, rel=1e-12)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_granule_more_or_less_is_the_difference_of_two_policies(seed):
    cost = random_cost(seed)
    choices = cost.space.random(seed).choices
    steps = cost.marginal(choices)
    assert list(steps) == list(cost.space.names)
    for decision in cost.space.decisions:
        place = decision.options.index(choices[decision.name])
        for way, change in ((-1, steps[decision.name].down), (1, steps[decision.name].up)):
            if not 0 <= place + way < len(decision.options):
                assert change is None
                continue
            other = {**choices, decision.name: decision.options[place + way]}
            assert change == pytest.approx(cost.cost(other) - cost.cost(choices), abs=1e-12)


def test_a_cost_that_has_priced_changes_is_pickled_and_copied():
    cost = random_cost(3)
    steps = cost.marginal({})
    for other in (pickle.loads(pickle.dumps(cost)), copy.deepcopy(cost)):
        assert other.marginal({}) == steps
