"""Several limits at once: never out of any, against enumeration; what is refused, and what the agents play."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune import agents
from autoprune.agents import run_search
from autoprune.agents.solvers.exact import ExactAgent
from autoprune.cost import AdditiveCost, CostEntry, FeasibleActions, JointCost, Limited
from autoprune.envs import Curves, PruningEnv, largest_uniform, spend_budget, toy
from autoprune.errors import BudgetError, InputError
from tests.support.random_costs import random_cost


def grid_of(cost):
    return np.array(list(itertools.product(*(range(len(d.options)) for d in cost.space.decisions))))


def joint(seed: int, share: float, number: int = 2) -> JointCost:
    """Random costs of one space, each limited at the same quantile of its values."""
    costs = [random_cost(seed + 1000 * k) for k in range(number)]
    rows = grid_of(costs[0])
    return JointCost(
        [Limited(f"cost {k}", cost, float(np.quantile(cost.costs(rows), share))) for k, cost in enumerate(costs)]
    )


@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9), number=st.integers(2, 3))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_episode_ends_within_all_limits_and_few_ways_are_missed(seed, share, number):
    cost = joint(seed, share, number)
    rows = grid_of(cost)
    within = np.all([each.cost.costs(rows) <= each.limit for each in cost.limits], axis=0)
    np.testing.assert_array_equal(cost.costs(rows) <= 1, within)
    try:
        feasible = FeasibleActions(cost, 1.0)
    except BudgetError as error:
        assert not within.any() or "could not be met by any policy that was found" in str(error)
        assert not (within.any() and "cannot be met" in str(error))
        return
    rng = np.random.default_rng(seed)
    while feasible.step < len(cost.space):
        here = rows[within & (rows[:, : feasible.step] == feasible.taken).all(axis=1)]
        possible = np.isin(np.arange(3), here[:, feasible.step])
        assert not np.any(feasible.allowed() & ~possible)
        feasible.take(int(rng.choice(np.flatnonzero(feasible.allowed()))))
    for each in cost.limits:
        assert each.cost.cost(feasible.known_policy) <= each.limit


def test_hardly_any_possible_option_is_refused():
    refused = offered = 0
    for seed in range(40):
        cost = joint(seed, 0.4)
        rows = grid_of(cost)
        within = rows[cost.costs(rows) <= 1]
        possible = np.isin(np.arange(3), within[:, 0])
        allowed = FeasibleActions(cost, 1.0).allowed()
        refused, offered = refused + int((possible & ~allowed).sum()), offered + int(allowed.sum())
    assert refused <= 0.02 * offered, (refused, offered)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_bound_is_below_every_policy_and_the_least_near_the_optimum(seed):
    cost = joint(seed, 0.3)
    best = float(cost.costs(grid_of(cost)).min())
    assert cost.finishing().bound <= best <= cost.least()[0] <= 1.1 * best


def test_one_limit_that_binds_alone_gives_what_the_cost_alone_gives():
    cost = random_cost(3)
    alone = FeasibleActions(cost, 0.8 * cost.dense)
    both = FeasibleActions(JointCost([Limited("a", cost, 0.8 * cost.dense), Limited("b", random_cost(4), 1e9)]), 1.0)
    for option in (2, 0, 1, 1, 0):
        np.testing.assert_array_equal(alone.allowed(), both.allowed())
        option = int(np.flatnonzero(alone.allowed())[option % alone.allowed().sum()])
        alone.take(option)
        both.take(option)
        one, first = alone.accounting, both.accounting
        for name in ("removed", "kept", "current", "rest"):
            assert getattr(first, name) == pytest.approx(getattr(one, name) / (0.8 * cost.dense), abs=1e-12)
    assert len(both.accountings) == 2


def test_a_refusal_names_what_the_nearest_policy_takes_of_each():
    cost = random_cost(5)
    tight = Limited("latency<=1%", cost, 0.01 * cost.dense)
    with pytest.raises(BudgetError, match=r"together cannot be met.*latency<=1% \d+\.\d%, params<=100% \d+\.\d%"):
        FeasibleActions(JointCost([tight, Limited("params<=100%", random_cost(6), 99.0)]), 1.0)


@pytest.mark.parametrize("limits", [1, 0])
def test_what_is_no_joint_cost_is_refused(limits):
    with pytest.raises(InputError, match="two limits or more"):
        JointCost([Limited("a", random_cost(1), 1.0)] * limits)
    with pytest.raises(InputError, match="above 0"):
        Limited("a", random_cost(1), 0.0)


def second_cost(t, seed=7):
    """Another cost of a toy's space: large where the toy's own is small."""
    rng = np.random.default_rng(seed)
    names = t.space.names
    entries = [CostEntry(name, (name,), Ramp(float(rng.uniform(1, 30)) / t.space[name].width)) for name in names]
    return AdditiveCost("params", "parameters", t.space, entries)


class Ramp:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, widths):
        return self.factor * widths[:, 0].astype(float)


def two_budgets(shares=(0.5, 0.5)):
    t = toy(4, options=6)
    other = second_cost(t)
    limits = [Limited("flops", t.cost, shares[0] * t.cost.dense), Limited("params", other, shares[1] * other.dense)]
    cost = JointCost(limits)
    curves = Curves.assumed(t.space)
    return t, cost, PruningEnv(t.space, cost, 1.0, t.score, curves=curves)


@pytest.mark.parametrize("agent", sorted(agents.AGENTS))
def test_every_agent_keeps_both_budgets_and_spends_them(agent):
    _, cost, env = two_budgets()
    records = run_search(agents.get(agent)(env, episodes=12, warmup=4), 12, lambda _: None)
    for record in records:
        for each in cost.limits:
            assert each.cost.cost(record.choices) <= each.limit
        assert record.predicted_cost == cost.cost(record.choices) <= 1
    assert max(record.predicted_cost for record in records) > 0.85


def test_the_exact_solver_finds_the_optimum_under_two_budgets():
    for shares in ((0.5, 0.5), (0.3, 0.7), (0.7, 0.35)):
        t, cost, env = two_budgets(shares)
        agent = ExactAgent(env, episodes=1)
        (answer,) = agent.solve(1.0)
        rows = grid_of(t.cost)
        rows = rows[cost.costs(rows) <= 1]
        assert agent.solution.proven
        assert agent.prices.curves.of(t.space.indices(answer)[None])[0] == pytest.approx(
            float(agent.prices.curves.of(rows).min()), abs=1e-6
        )


def test_the_observation_shows_both_budgets():
    t, _, env = two_budgets()
    seen, info = env.reset()
    assert seen.shape == (t.env().observation_space.shape[0] + 3,)
    assert env.observation_space.contains(seen)
    assert info["accounting"]["kept"] + info["accounting"]["current"] + info["accounting"]["rest"] == pytest.approx(2.0)
    copy = pickle.loads(pickle.dumps(env))
    assert np.array_equal(copy.step(np.zeros(1, np.float32))[0], env.step(np.zeros(1, np.float32))[0])


def test_policies_drawn_and_the_uniform_one_keep_both():
    _, cost, _ = two_budgets()
    uniform = largest_uniform(cost, 1.0)
    assert uniform is not None and cost.cost(uniform) <= 1
    for seed in range(5):
        drawn = spend_budget(cost, 1.0, np.random.default_rng(seed))
        assert 0.6 < cost.cost(drawn) <= 1


def test_terms_too_large_for_a_table_fall_back_to_descent(monkeypatch):
    monkeypatch.setattr("autoprune.cost.additive._TABLE_LIMIT", 2)
    cost = joint(9, 0.5)
    assert not cost.finishing()._finders
    feasible = FeasibleActions(cost, 1.0)
    rng = np.random.default_rng(0)
    while feasible.step < len(cost.space):
        feasible.take(int(rng.choice(np.flatnonzero(feasible.allowed()))))
    assert cost.cost(feasible.known_policy) <= 1
