"""The best chip of a policy, held against brute force over all chips and policies of small random tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.agents import AGENTS, run_search
from autoprune.cost import FeasibleActions
from autoprune.cost.chips import BestChip, ChipTables
from autoprune.envs import PruningEnv
from autoprune.errors import BudgetError, InputError
from tests.support.random_chips import OPTIONS, every_policy, random_tables


def by_hand(tables: ChipTables, policy: tuple[int, ...], chip: int, objective: str) -> float | None:
    """What one policy costs on one chip; None where it does not fit."""
    for memory in range(tables.room.shape[1]):
        own = [tables.needs[d][option, chip, memory] for d, option in enumerate(policy)]
        fixed = tables.fixed_needs[chip, memory]
        need = max([fixed, *own]) if tables.streams[chip] else fixed + sum(own)
        if need > tables.room[chip, memory]:
            return None
    ms = tables.fixed_ms[chip] + sum(tables.ms[d][option, chip] for d, option in enumerate(policy))
    mj = tables.fixed_mj[chip] + sum(tables.mj[d][option, chip] for d, option in enumerate(policy))
    return {"latency": ms, "energy": mj, "edp": ms * mj}[objective]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["latency", "energy", "edp"]), st.floats(1.5, 4))
def test_a_policy_costs_what_it_does_on_the_best_chip_that_holds_it(seed, objective, area) -> None:
    tables = random_tables(seed)
    if tables.area.min() > area:
        with pytest.raises(BudgetError, match="the smallest takes"):
            BestChip(tables, objective, area)
        return
    cost, policies = BestChip(tables, objective, area), every_policy()
    for policy, price, chip in zip(policies, cost.costs(policies), cost.chip_of(policies), strict=True):
        known = {c: by_hand(tables, tuple(policy), c, objective) for c in range(len(tables)) if tables.area[c] <= area}
        fitting = {c: value for c, value in known.items() if value is not None}
        if fitting:
            assert price == pytest.approx(min(fitting.values()), rel=1e-12)
            assert fitting[int(chip)] == pytest.approx(price, rel=1e-12)
        else:
            assert price >= cost.ceiling > max(v for v in [*fitting.values(), 0.0])
        assert bool(cost.fits(policy[None])[0]) == bool(fitting)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["latency", "energy", "edp"]), st.floats(0, 1))
def test_every_walk_behind_the_action_mask_ends_within_the_limit(seed, objective, share) -> None:
    cost, rng = BestChip(random_tables(seed), objective), np.random.default_rng(seed)
    prices = np.sort(cost.costs(every_policy()))
    limit = float(prices[int(share * (len(prices) - 1))])
    try:
        feasible = FeasibleActions(cost, limit)
    except BudgetError:
        assert cost.least()[0] > limit
        return
    while feasible.step < len(OPTIONS):
        feasible.take(int(rng.choice(np.flatnonzero(feasible.allowed()))))
    assert cost.cost(feasible.known_policy) <= limit
    assert cost.costs(np.array([feasible.taken]))[0] <= limit


@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_where_memories_are_large_the_cheapest_completion_is_the_minimum_over_all(objective) -> None:
    for seed in range(20):
        cost = BestChip(random_tables(seed, roomy=True), objective)
        policies = every_policy()
        for first in range(OPTIONS[0]):
            found = cost.finishing().best(np.array([first]))
            assert cost.costs(found[None])[0] == cost.costs(policies[policies[:, 0] == first]).min()


def test_one_chips_cost_is_a_sum_and_that_of_a_product_a_tangent() -> None:
    policies = every_policy()
    for objective in ("latency", "energy"):
        cost = BestChip(random_tables(3, chips=1, roomy=True), objective)
        assert cost.parts[0].costs(policies) == pytest.approx(cost.costs(policies))
    product = BestChip(random_tables(3, chips=1, roomy=True), "edp")
    dense = product.space.indices({})[None]
    assert product.parts[0].costs(dense) == pytest.approx(product.costs(dense))


@pytest.mark.parametrize("agent", ["random", "uniform", "ddpg", "optuna", "exact", "greedy", "evolution"])
@pytest.mark.parametrize("objective", ["latency", "edp"])
def test_agents_play_within_the_limit_on_the_best_chip(agent, objective) -> None:
    cost = BestChip(random_tables(1, chips=4), objective)
    prices = cost.costs(every_policy())
    limit = float(np.quantile(prices[prices < cost.ceiling], 0.6))
    env = PruningEnv(cost.space, cost, limit, lambda choices: min(1.0, sum(choices.values()) / 27))
    records = run_search(AGENTS.get(agent)(env, episodes=4), 4, lambda record: None)
    assert records and all(record.predicted_cost <= limit for record in records)
    assert all(cost.cost(record.choices) == record.predicted_cost for record in records)


def test_joined_tables_keep_their_chips_and_wrong_shapes_are_refused() -> None:
    one, other = random_tables(1, chips=2, memories=1), random_tables(2, chips=3, memories=2)
    both, policies = ChipTables.joined([one, other]), every_policy()
    for part, chips in ((one, slice(0, 2)), (other, slice(2, 5))):
        for name in ("ms", "mj", "overflow"):
            assert getattr(both.sums(policies), name)[:, chips] == pytest.approx(getattr(part.sums(policies), name))
    with pytest.raises(InputError, match="a row for every option"):
        ChipTables(one.space, one.ms[:2], *[getattr(one, n) for n in ("mj", "needs", "fixed_ms", "fixed_mj",
                   "fixed_needs", "room", "streams", "area")])  # fmt: skip
