"""Policies on the budget's surface: maximal, fair to every layer, feasible on any table."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.cost import AdditiveCost, CostEntry
from autoprune.envs import largest_uniform, spend_budget, toy
from autoprune.errors import BudgetError
from autoprune.space import Decision, SearchSpace


@dataclass(frozen=True)
class Lookup:
    table: np.ndarray

    def __call__(self, widths):
        return self.table[tuple((widths - 1).T)]


def rough_cost(seed, count=4, options=4):
    """Prices without order: a wider layer may be cheaper."""
    rng = np.random.default_rng(seed)
    space = SearchSpace(tuple(Decision(f"d{i}", options, tuple(range(1, options + 1))) for i in range(count)))
    scopes = [*((i,) for i in range(count)), *itertools.pairwise(range(count))]
    tables = [Lookup(rng.uniform(0, 1, (options,) * len(s))) for s in scopes]
    entries = [CostEntry(str(s), tuple(f"d{i}" for i in s), table) for s, table in zip(scopes, tables, strict=True)]
    return AdditiveCost("latency", "ms", space, entries)


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_on_any_table_a_sample_is_within_the_limit_and_cannot_grow(seed, share):
    cost = rough_cost(seed)
    least = cost.least()[0]
    limit = least + share * (cost.dense - least) + 1e-9
    choices = spend_budget(cost, limit, np.random.default_rng(seed))
    assert cost.cost(choices) <= limit
    for decision in cost.space.decisions:
        at = decision.options.index(choices[decision.name])
        if at + 1 < len(decision.options):
            assert cost.cost(choices | {decision.name: decision.options[at + 1]}) > limit - 1e-9


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.75])
def test_the_budget_is_spent_and_late_layers_are_not_starved(keep):
    t = toy(16, keep=keep)
    rng = np.random.default_rng(0)
    samples = [spend_budget(t.cost, t.limit, rng) for _ in range(400)]
    costs = np.array([t.cost.cost(c) for c in samples])
    shares = np.array([[c[d.name] / d.width for d in t.space.decisions] for c in samples])
    assert np.median(costs) > 0.9 * t.limit
    assert costs.max() <= t.limit
    early, late = shares[:, :5].mean(), shares[:, -5:].mean()
    assert abs(early - late) < 0.04
    assert shares.std(axis=0).min() > 0.06  # every layer is explored


def test_uniformly_random_actions_would_not_have_spent_it():
    t = toy(16)
    env, rng = t.env(), np.random.default_rng(0)
    costs = []
    for _ in range(60):
        env.reset()
        for _ in t.space.decisions:
            env.step(rng.uniform(-1, 1, 1).astype(np.float32))
        costs.append(env.outcome.cost)
    assert np.median(costs) < 0.8 * t.limit


def test_samples_differ_and_repeat_with_their_generator():
    t = toy(8)
    first = [spend_budget(t.cost, t.limit, np.random.default_rng(seed)) for seed in range(10)]
    again = [spend_budget(t.cost, t.limit, np.random.default_rng(seed)) for seed in range(10)]
    assert first == again
    assert len({tuple(c.values()) for c in first}) == 10


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_largest_uniform_is_the_largest_of_a_fine_scan(seed, share):
    cost = rough_cost(seed) if seed % 2 else toy(4, seed=seed).cost
    limit = share * cost.dense
    scan = (cost.space.uniform(keep).choices for keep in np.linspace(1, 0.004, 250))
    expected = next((c for c in scan if cost.cost(c) <= limit - 1e-9), None)
    found = largest_uniform(cost, limit)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert cost.cost(found) <= limit
        assert sum(found.values()) >= sum(expected.values())


def test_an_impossible_budget_names_the_least():
    t = toy(3)
    with pytest.raises(BudgetError) as caught:
        spend_budget(t.cost, 0.01, np.random.default_rng(0))
    assert caught.value.least == pytest.approx(t.cost.least()[0])


def test_the_least_budget_leaves_one_policy():
    t = toy(4)
    least, choices = t.cost.least()
    assert spend_budget(t.cost, least * (1 + 1e-9), np.random.default_rng(0)) == choices
