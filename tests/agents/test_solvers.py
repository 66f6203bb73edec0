"""Solvers against brute force, and what their searches must keep."""

import itertools

import numpy as np
import pytest

from autoprune import agents
from autoprune.agents import best, run_search
from autoprune.agents.solvers import milp
from autoprune.agents.solvers.greedy_steps import Prices, greedy
from autoprune.agents.solvers.milp import solve
from autoprune.cost import AdditiveCost, CostEntry
from autoprune.envs import Curves, PruningEnv, toy
from autoprune.errors import BudgetError
from autoprune.space import Decision, SearchSpace


def widths(count, options=4, unit=2):
    return tuple(
        Decision(f"d{i}", options * unit, tuple(unit * k for k in range(1, options + 1))) for i in range(count)
    )


def product(kept):
    return 1e-2 * np.prod(kept.astype(float), axis=1) + 0.1 * kept[:, 0]


def stairs(kept):
    return np.ceil(kept[:, 0] / 4) * np.ceil(kept[:, 1] / 3) + 1.0


def concatenated(kept):
    return 0.02 * kept[:, :-1].sum(axis=1) * kept[:, -1]


def gated(kept):
    return 0.05 * np.prod(kept[:, :-1].astype(float), axis=1) * (kept[:, -1] > 0)


def random_curves(space, seed):
    rng = np.random.default_rng(seed)
    return Curves(
        tuple(np.sort(np.append(rng.exponential(size=len(d.options) - 1), 0.0))[::-1] for d in space.decisions)
    )


def every_policy(prices):
    sizes = [len(decision.options) for decision in prices.cost.space.decisions]
    rows = np.array(list(itertools.product(*map(range, sizes))))
    return np.unique(prices.canonical(rows), axis=0)


def optimum(prices, limit):
    rows = every_policy(prices)
    fitting = rows[prices.cost.costs(rows) <= limit]
    return float(prices.curves.of(fitting).min())


def loss_of(prices, choices):
    return float(prices.curves.of(prices.cost.space.indices(choices)[None])[0])


def chain():
    space = SearchSpace(widths(4))
    pairs = [CostEntry(f"{a}{b}", (a, b), product) for a, b in itertools.pairwise(space.names)]
    return space, [CostEntry("fixed", (), lambda kept: np.full(len(kept), 0.5)), *pairs]


def hardware():
    space = SearchSpace(widths(4))
    return space, [CostEntry(f"{a}{b}", (a, b), stairs) for a, b in itertools.pairwise(space.names)]


def concat():
    space = SearchSpace(widths(5, options=6))
    return space, [CostEntry("cat", space.names, concatenated), CostEntry("first", ("d0",), lambda k: 0.3 * k[:, 0])]


def blocks():
    inner = Decision("inner", 8, (2, 4, 8), within=(("block",),))
    space = SearchSpace((Decision("stem", 8, (2, 4, 8)), inner, Decision("block", 1, (0, 1), kind="block")))
    entries = [
        CostEntry("first", ("stem", "inner", "block"), gated),
        CostEntry("second", ("inner", "stem", "block"), gated),
        CostEntry("head", ("stem",), lambda kept: 0.1 * kept[:, 0]),
    ]
    return space, entries


CASES = {each.__name__: each for each in (chain, hardware, concat, blocks)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
@pytest.mark.parametrize("case", CASES)
def test_the_exact_solver_finds_what_trying_every_policy_finds(case, share, seed, monkeypatch):
    monkeypatch.setattr(milp, "_DIRECT", 16)  # so that small terms are merged as wide ones are
    space, entries = CASES[case]()
    cost = AdditiveCost("flops", "MACs", space, entries)
    prices, limit = Prices(cost, random_curves(space, seed)), max(share * cost.dense, cost.least()[0])
    found = solve(prices, limit)
    assert found.proven, found.reason
    assert cost.cost(found.choices) <= limit
    assert found.loss == pytest.approx(loss_of(prices, found.choices))
    assert found.loss == pytest.approx(optimum(prices, limit), abs=2e-6)
    assert found.gap == pytest.approx(0, abs=2e-6)


def test_the_inputs_of_a_concat_share_the_indicators_of_their_sum():
    """Five decisions of six widths have 7,776 joint cells; a program of their sums has far fewer."""
    space, entries = concat()
    cost = AdditiveCost("flops", "MACs", space, entries)
    program = milp._Program(Prices(cost, random_curves(space, 0)), 0.5 * cost.dense)
    assert program.count < 1500


def test_a_policy_at_the_very_limit_counts_and_one_above_does_not():
    space = SearchSpace(widths(2, options=3, unit=1))
    cost = AdditiveCost("flops", "MACs", space, [CostEntry("pair", space.names, lambda k: np.prod(k, axis=1) * 1.0)])
    prices = Prices(cost, random_curves(space, 1))
    for limit in (6.0, 6.0 - 1e-9):
        found = solve(prices, limit)
        assert cost.cost(found.choices) <= limit
        assert found.loss == pytest.approx(optimum(prices, limit), abs=2e-6)


def test_a_program_that_is_too_large_is_answered_greedily_and_says_so(monkeypatch):
    monkeypatch.setattr(milp, "_MOST_CELLS", 30)
    t = toy(4)
    prices = Prices(t.cost, Curves.assumed(t.space))
    found = solve(prices, t.limit)
    assert not found.proven and "variables" in found.reason and found.gap is None
    assert found.choices == greedy(prices, t.limit)


def test_a_large_program_is_solved_with_fewer_options_and_says_so(monkeypatch):
    t = toy(4, options=16)
    prices = Prices(t.cost, random_curves(t.space, 2))
    whole = milp._Program(prices, t.limit).count
    monkeypatch.setattr(milp, "_MOST_CELLS", whole // 2)
    monkeypatch.setattr(milp, "_COARSER", (8,))
    found = solve(prices, t.limit)
    assert "8 options" in found.reason and found.bound is None
    assert t.cost.cost(found.choices) <= t.limit
    assert optimum(prices, t.limit) - 1e-9 <= found.loss <= loss_of(prices, greedy(prices, t.limit))


def test_no_time_leaves_a_policy_within_the_limit_and_an_honest_gap():
    t = toy(6, options=16)
    prices = Prices(t.cost, random_curves(t.space, 0))
    found = solve(prices, t.limit, time_limit=1e-3)
    assert t.cost.cost(found.choices) <= t.limit
    if not found.proven:
        assert found.reason
        assert found.bound is None or found.bound <= found.loss


def test_an_impossible_limit_is_refused():
    t = toy(3)
    prices = Prices(t.cost, Curves.assumed(t.space))
    with pytest.raises(BudgetError, match="least reachable"):
        solve(prices, 0.5 * t.cost.least()[0])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("share", [0.0, 0.35, 0.6, 1.0])
def test_greedy_meets_the_limit_and_leaves_no_room(case, share):
    space, entries = CASES[case]()
    cost = AdditiveCost("flops", "MACs", space, entries)
    prices, limit = Prices(cost, random_curves(space, 4)), max(share * cost.dense, cost.least()[0])
    choices = greedy(prices, limit)
    assert cost.cost(choices) <= limit
    wider = prices.single_changes(space.indices(choices), wider=True)
    regained = loss_of(prices, choices) - prices.curves.of(wider)
    assert not len(wider) or not np.any((cost.costs(wider) <= limit) & (regained > 0))


def test_greedy_cuts_what_the_curves_say_is_cheap():
    space, entries = chain()
    cost = AdditiveCost("flops", "MACs", space, entries)
    dear = [np.array([1.0, 0.9, 0.8, 0.0])] * 4
    for cheap in range(4):
        curves = Curves(tuple(row * (0.001 if d == cheap else 1.0) for d, row in enumerate(dear)))
        choices = greedy(Prices(cost, curves), 0.8 * cost.dense)
        assert choices[f"d{cheap}"] == min(choices.values()) < 8


def with_true_curves(t):
    """The toy's own score of single cuts, which is additive: the exact solver must find the true optimum."""
    merits = {d.name: {o: t.score({**t.space.dense, d.name: o}) for o in d.options} for d in t.space.decisions}
    curves = Curves.measured(t.space, merits, t.score(t.space.dense))
    return PruningEnv(t.space, t.cost, t.limit, t.score, curves=curves)


@pytest.mark.parametrize("seed", range(3))
def test_with_measured_curves_the_exact_solver_plays_the_optimum_first(seed):
    t = toy(5, seed=seed)
    agent = agents.get("exact")(with_true_curves(t), episodes=3)
    records = run_search(agent, 3, lambda _: None)
    assert t.optimum()[0] - records[0].accuracy < 2e-3  # the small part of the assumed curve may move it a little
    assert agent.scalars()["optimality_gap"] == pytest.approx(0, abs=2e-6)


@pytest.mark.parametrize("name", ["greedy", "exact", "netadapt", "evolution"])
def test_solvers_improve_on_their_first_answers_within_the_budget(name):
    t = toy(6, seed=2)
    records = run_search(agents.get(name)(t.env(), episodes=60), 60, lambda _: None)
    assert all(t.cost.cost(record.choices) <= t.limit for record in records)
    assert best(records)[0].accuracy > records[0].accuracy
    assert len({tuple(record.choices.values()) for record in records}) > 40


def test_evolution_ends_above_the_median_of_random():
    t = toy(5)
    chance = [r.accuracy for r in run_search(agents.get("random")(t.env(), episodes=80), 80, lambda _: None)]
    evolved = [r.accuracy for r in run_search(agents.get("evolution")(t.env(), episodes=80), 80, lambda _: None)]
    assert np.mean(evolved[-15:]) > np.median(chance) + 0.25 * (t.optimum()[0] - np.median(chance))


def test_netadapt_plays_the_proposals_of_its_last_round():
    t = toy(5)
    agent = agents.get("netadapt")(t.env(), episodes=5)
    answers = agent.solve(t.limit)
    losses = [loss_of(agent.prices, choices) for choices in answers]
    assert losses == sorted(losses) and len(answers) > 1
    assert all(t.cost.cost(choices) <= t.limit for choices in answers)
    assert [r.choices for r in run_search(agent, 2, lambda _: None)] == answers[:2]


def test_curves_pass_through_their_points_and_never_fall_where_more_is_removed():
    space = SearchSpace((Decision("a", 8, (2, 4, 6, 8)), Decision("fixed", 3, (3,))))
    curves = Curves.measured(space, {"a": {2: 0.5, 6: 0.4}}, dense=0.9)
    np.testing.assert_allclose(curves.losses[0], [0.5, 0.5, 0.5, 0.0], atol=0.002)
    assert np.all(np.diff(curves.losses[0]) < 0)
    with pytest.raises(Exception, match="least option"):
        Curves.measured(space, {"a": {4: 0.5}}, dense=0.9)
