"""The action mask: exact against enumeration, feasible on any table, and its accounts balance."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.cost import AdditiveCost, CostEntry, FeasibleActions, completion
from autoprune.errors import BudgetError, InputError
from autoprune.space import Decision, SearchSpace
from tests.support.random_costs import Lookup, random_cost


def all_costs(cost: AdditiveCost) -> dict[tuple[int, ...], float]:
    grid = list(itertools.product(*(range(len(d.options)) for d in cost.space.decisions)))
    return dict(zip(grid, cost.costs(np.array(grid)), strict=True))


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_allowed_options_are_exactly_those_with_a_feasible_completion(seed, share):
    cost = random_cost(seed)
    table = all_costs(cost)
    low, high = min(table.values()), max(table.values())
    limit = low + share * (high - low)
    feasible, rng, prefix = FeasibleActions(cost, limit), np.random.default_rng(seed), ()
    while feasible.step < len(cost.space):
        best = [min(v for k, v in table.items() if k[: len(prefix) + 1] == (*prefix, o)) for o in range(3)]
        np.testing.assert_allclose(feasible.totals(), best)
        allowed = feasible.allowed()
        clear = np.abs(np.array(best) - limit) > 1e-9
        np.testing.assert_array_equal(allowed[clear], (np.array(best) <= limit)[clear])
        option = int(rng.choice(np.flatnonzero(allowed)))
        feasible.take(option)
        prefix = (*prefix, option)
        assert cost.cost(feasible.known_policy) <= limit * (1 + 1e-9)
    assert cost.space.choices(prefix) == feasible.known_policy


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_without_elimination_every_episode_still_ends_within_the_limit(seed):
    cost = random_cost(seed)
    limit = float(np.quantile(list(all_costs(cost).values()), 0.1))
    previous, completion._BUCKET_LIMIT = completion._BUCKET_LIMIT, 1
    try:
        limit = max(limit, cost.least()[0])  # the least that descent finds: with seed 494 it is above the quantile
        feasible = FeasibleActions(cost, limit)
        assert not feasible._completions.exact
    finally:
        completion._BUCKET_LIMIT = previous
    rng = np.random.default_rng(seed)
    while feasible.step < len(cost.space):
        feasible.take(int(rng.choice(np.flatnonzero(feasible.allowed()))))
        assert cost.cost(feasible.known_policy) <= limit


def inexact_wall(cost: AdditiveCost, limit: float, monkeypatch) -> FeasibleActions:
    monkeypatch.setattr(completion, "_BUCKET_LIMIT", 1)
    feasible = FeasibleActions(cost, limit)
    assert not feasible._completions.exact
    return feasible


def priced_rows(cost: AdditiveCost, monkeypatch) -> list[int]:
    """How many policies each call of `cost.costs` prices from now on."""
    calls, costs = [], cost.costs
    monkeypatch.setattr(cost, "costs", lambda indices: calls.append(len(indices)) or costs(indices))
    return calls


def test_without_elimination_a_wide_budget_takes_one_call_a_decision(monkeypatch):
    cost = random_cost(2)
    feasible = inexact_wall(cost, 2 * max(all_costs(cost).values()), monkeypatch)
    calls = priced_rows(cost, monkeypatch)
    for _ in cost.space.decisions:
        feasible.totals()
        assert feasible.allowed().all()
        feasible.take(1)
    assert calls == [2 * 3] * 5  # every option with the known policy's tail and with the cheapest policy's


def test_without_elimination_descent_finds_what_no_known_tail_can_finish(monkeypatch):
    table = np.array([[5.0, 5.0, 2.0], [2.4, 4.0, 3.0]])
    space = SearchSpace((Decision("a", 2, (1, 2)), Decision("b", 3, (1, 2, 3))))
    cost = AdditiveCost("latency", "ms", space, [CostEntry("e", ("a", "b"), Lookup(table))])
    feasible = inexact_wall(cost, 2.5, monkeypatch)
    assert feasible.known_policy == {"a": 1, "b": 3}  # with its tail the other option costs 3
    assert feasible.totals().tolist() == [2.0, 2.4]
    assert feasible.allowed().all()
    feasible.take(1)
    assert feasible.known_policy == {"a": 2, "b": 1}
    assert feasible.allowed().tolist() == [True, False, False]


@pytest.mark.parametrize("exact", [True, False])
def test_what_the_wall_hands_out_is_the_callers_own(exact, monkeypatch):
    cost = random_cost(1)
    limit = cost.least()[0]
    feasible = FeasibleActions(cost, limit) if exact else inexact_wall(cost, 1.2 * limit, monkeypatch)
    allowed, totals = feasible.allowed(), feasible.totals()
    feasible.allowed()[:], feasible.totals()[:] = True, 0.0
    np.testing.assert_array_equal(feasible.allowed(), allowed)
    np.testing.assert_array_equal(feasible.totals(), totals)
    with pytest.raises(InputError, match="no way to meet the budget"):
        feasible.take(int(np.flatnonzero(~allowed)[0]))


@pytest.mark.parametrize("exact", [True, False])
def test_a_wall_pickled_between_look_and_take_goes_on_as_before_and_forgets_at_reset(exact, monkeypatch):
    cost = random_cost(4)
    limit = float(np.quantile(list(all_costs(cost).values()), 0.2))
    feasible = FeasibleActions(cost, limit) if exact else inexact_wall(cost, limit, monkeypatch)
    fresh = feasible.allowed()
    feasible.take(int(np.flatnonzero(fresh)[-1]))
    feasible.allowed()
    again = pickle.loads(pickle.dumps(feasible))
    while feasible.step < len(cost.space):
        np.testing.assert_array_equal(again.allowed(), feasible.allowed())
        option = int(np.flatnonzero(feasible.allowed())[-1])
        feasible.take(option)
        again.take(option)
        assert again.known_policy == feasible.known_policy
        assert cost.cost(feasible.known_policy) <= limit
    feasible.reset()
    np.testing.assert_array_equal(feasible.allowed(), fresh)


def test_a_decision_is_looked_at_once_however_often_it_is_asked_for(monkeypatch):
    feasible = FeasibleActions(random_cost(6), 100.0)
    looks, ahead = [], feasible._completions.ahead
    monkeypatch.setattr(feasible._completions, "ahead", lambda *args: looks.append(args) or ahead(*args))
    for step in range(1, 4):
        feasible.allowed(), feasible.totals(), feasible.allowed()
        feasible.take(0)
        assert len(looks) == step


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_accounts_add_up_to_the_dense_cost_at_every_step(seed):
    cost = random_cost(seed)
    feasible, rng = FeasibleActions(cost, cost.dense * 2), np.random.default_rng(seed)
    while True:
        parts = feasible.accounting
        assert parts.removed + parts.kept + parts.current + parts.rest == pytest.approx(cost.dense)
        if feasible.step == len(cost.space):
            break
        if feasible.step == len(cost.space) - 1:
            assert parts.rest == 0
        feasible.take(int(rng.choice(np.flatnonzero(feasible.allowed()))))
    assert feasible.accounting.kept == pytest.approx(cost.cost(feasible.known_policy))


def test_least_is_the_minimum_of_all_policies():
    cost = random_cost(3)
    value, choices = cost.least()
    assert value == pytest.approx(min(all_costs(cost).values()))
    assert cost.cost(choices) == value


def test_an_impossible_budget_is_refused_with_the_least_reachable_cost():
    cost = random_cost(5)
    least = cost.least()[0]
    with pytest.raises(BudgetError, match="least reachable") as caught:
        FeasibleActions(cost, 0.9 * least)
    assert caught.value.least == least
    feasible = FeasibleActions(cost, least)  # the bound itself is reachable
    while feasible.step < len(cost.space):
        feasible.take(int(np.flatnonzero(feasible.allowed())[0]))
    assert cost.cost(feasible.known_policy) == pytest.approx(least)


def test_a_policy_that_costs_exactly_the_limit_is_allowed():
    for seed in range(20):
        cost = random_cost(seed)
        wanted = np.random.default_rng(seed).integers(0, 3, len(cost.space))
        feasible = FeasibleActions(cost, float(cost.costs(wanted[None])[0]))
        for option in wanted:
            feasible.take(int(option))
        assert feasible.known_policy == cost.space.choices(wanted)
        assert cost.cost(feasible.known_policy) <= feasible.limit


def test_a_forbidden_option_is_refused():
    cost = random_cost(1)
    feasible = FeasibleActions(cost, cost.least()[0])
    forbidden = np.flatnonzero(~feasible.allowed())
    with pytest.raises(InputError, match="no way to meet the budget"):
        feasible.take(int(forbidden[0]))


def test_entries_too_large_to_tabulate_price_the_same(monkeypatch):
    cost = random_cost(7)
    expected = all_costs(cost)
    monkeypatch.setattr("autoprune.cost.additive._TABLE_LIMIT", 2)
    for indices, value in all_costs(random_cost(7)).items():
        assert value == pytest.approx(expected[indices])


@pytest.mark.parametrize("bad", [np.array([np.nan, 1, 1]), np.array([-1.0, 1, 1])])
def test_prices_that_are_no_costs_are_refused(bad):
    space = SearchSpace((Decision("d", 3, (1, 2, 3)),))
    with pytest.raises(InputError, match="negative or not finite"):
        AdditiveCost("latency", "ms", space, [CostEntry("e", ("d",), Lookup(bad))])
