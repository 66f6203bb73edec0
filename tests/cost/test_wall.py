"""The wall: exact against enumeration, feasible on any table, and its accounts balance."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.cost import AdditiveCost, CostEntry, Wall, completion
from autoprune.errors import BudgetError, InputError
from autoprune.space import Decision, SearchSpace


@dataclass(frozen=True)
class Lookup:
    """Prices from a random table: neither monotone nor separable."""

    table: np.ndarray

    def __call__(self, widths):
        return self.table[tuple((widths - 1).T)] if widths.shape[1] else self.table.reshape(-1)[:1]


def random_cost(seed: int, count: int = 5, options: int = 3) -> AdditiveCost:
    rng = np.random.default_rng(seed)
    space = SearchSpace(tuple(Decision(f"d{i}", options, tuple(range(1, options + 1))) for i in range(count)))
    scopes = [(), *[(i,) for i in range(count)], *[(i, i + 1) for i in range(count - 1)], (0, 2, count - 1)]
    entries = [
        CostEntry(f"e{s}", tuple(f"d{i}" for i in s), Lookup(rng.uniform(0, 1, (options,) * len(s)))) for s in scopes
    ]
    return AdditiveCost("latency", "ms", space, entries)


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
    wall, rng, prefix = Wall(cost, limit), np.random.default_rng(seed), ()
    while wall.step < len(cost.space):
        best = [min(v for k, v in table.items() if k[: len(prefix) + 1] == (*prefix, o)) for o in range(3)]
        np.testing.assert_allclose(wall.totals(), best)
        allowed = wall.allowed()
        clear = np.abs(np.array(best) - limit) > 1e-9
        np.testing.assert_array_equal(allowed[clear], (np.array(best) <= limit)[clear])
        option = int(rng.choice(np.flatnonzero(allowed)))
        wall.take(option)
        prefix = (*prefix, option)
        assert cost.cost(wall.witness) <= limit * (1 + 1e-9)
    assert cost.space.choices(prefix) == wall.witness


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_without_elimination_every_episode_still_ends_within_the_limit(seed):
    cost = random_cost(seed)
    limit = float(np.quantile(list(all_costs(cost).values()), 0.1))
    previous, completion._BUCKET_LIMIT = completion._BUCKET_LIMIT, 1
    try:
        wall = Wall(cost, limit)
        assert not wall._completions.exact
    finally:
        completion._BUCKET_LIMIT = previous
    rng = np.random.default_rng(seed)
    while wall.step < len(cost.space):
        wall.take(int(rng.choice(np.flatnonzero(wall.allowed()))))
    assert cost.cost(wall.witness) <= limit


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_accounts_add_up_to_the_dense_cost_at_every_step(seed):
    cost = random_cost(seed)
    wall, rng = Wall(cost, cost.dense * 2), np.random.default_rng(seed)
    while True:
        parts = wall.accounting
        assert parts.removed + parts.kept + parts.current + parts.rest == pytest.approx(cost.dense)
        if wall.step == len(cost.space):
            break
        if wall.step == len(cost.space) - 1:
            assert parts.rest == 0
        wall.take(int(rng.choice(np.flatnonzero(wall.allowed()))))
    assert wall.accounting.kept == pytest.approx(cost.cost(wall.witness))


def test_least_is_the_minimum_of_all_policies():
    cost = random_cost(3)
    value, choices = cost.least()
    assert value == pytest.approx(min(all_costs(cost).values()))
    assert cost.cost(choices) == value


def test_an_impossible_budget_is_refused_with_the_least_reachable_cost():
    cost = random_cost(5)
    least = cost.least()[0]
    with pytest.raises(BudgetError, match="least reachable") as caught:
        Wall(cost, 0.9 * least)
    assert caught.value.least == least
    wall = Wall(cost, least)  # the bound itself is reachable
    while wall.step < len(cost.space):
        wall.take(int(np.flatnonzero(wall.allowed())[0]))
    assert cost.cost(wall.witness) == pytest.approx(least)


def test_a_policy_that_costs_exactly_the_limit_is_allowed():
    for seed in range(20):
        cost = random_cost(seed)
        wanted = np.random.default_rng(seed).integers(0, 3, len(cost.space))
        wall = Wall(cost, float(cost.costs(wanted[None])[0]))
        for option in wanted:
            wall.take(int(option))
        assert wall.witness == cost.space.choices(wanted)
        assert cost.cost(wall.witness) <= wall.limit


def test_a_forbidden_option_is_refused():
    cost = random_cost(1)
    wall = Wall(cost, cost.least()[0])
    forbidden = np.flatnonzero(~wall.allowed())
    with pytest.raises(InputError, match="no way to meet the budget"):
        wall.take(int(forbidden[0]))


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
