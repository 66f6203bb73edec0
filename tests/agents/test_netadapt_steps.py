"""NetAdapt's proposals against every policy there is, on toys and on made-up stairs."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.agents.netadapt import proposals, reduction_share
from autoprune.cost import AdditiveCost, CostEntry
from autoprune.envs.toy import toy
from autoprune.errors import InputError
from autoprune.space import Decision, SearchSpace


def stairs(prices):
    """One entry a decision; its price by option is given, and need not rise with the width."""
    decisions = [Decision(f"d{i}", len(p), tuple(range(1, len(p) + 1))) for i, p in enumerate(prices)]

    def entry(name, table):
        return CostEntry(name, (name,), lambda widths: np.asarray(table, dtype=float)[widths[:, 0] - 1])

    entries = [entry(d.name, p) for d, p in zip(decisions, prices, strict=True)]
    return AdditiveCost("latency", "ms", SearchSpace(tuple(decisions)), entries)


def by_trying(cost, current, reduction):
    """Decision -> its largest narrower width that alone reaches the reduction, with the price asked one by one."""
    found = {}
    for d in cost.space.decisions:
        for width in d.options:
            changed = {**current, d.name: width}
            if width < current[d.name] and cost.cost(changed) <= cost.cost(current) - reduction:
                found[d.name] = changed  # options ascend: the last is the largest
    return found


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.booleans(), st.floats(0.005, 0.5), st.data())
def test_single_decisions_are_those_that_trying_every_width_finds(seed, coupled, share, data):
    cost = toy(4, options=6, coupled=coupled, seed=seed).cost
    current = {d.name: data.draw(st.sampled_from(d.options)) for d in cost.space.decisions}
    reduction = share * cost.cost(current)
    expected = by_trying(cost, current, reduction)
    found = proposals(cost, current, reduction)
    assert all(p.cost == pytest.approx(cost.cost(p.choices)) for p in found)
    assert all(p.choices[n] <= w for p in found for n, w in current.items())
    assert all(p.cost <= cost.cost(current) - reduction + 1e-9 for p in found)
    if expected:
        assert {p.shrunk: p.choices for p in found} == {(name,): choices for name, choices in expected.items()}
    else:
        assert all(len(p.shrunk) > 1 for p in found)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=2, max_size=4), st.floats(0.05, 20))
def test_on_stairs_a_step_is_proposed_wherever_some_narrower_policy_takes_it(prices, reduction):
    cost = stairs(prices)
    dense = cost.space.dense
    every = itertools.product(*(range(len(p)) for p in prices))
    reachable = any(cost.cost(cost.space.choices(i)) <= cost.dense - reduction for i in every)
    found = proposals(cost, dense, reduction)
    assert bool(found) == reachable
    assert len({tuple(p.choices.values()) for p in found}) == len(found)
    assert all(cost.cost(p.choices) <= cost.dense - reduction for p in found)


def test_the_largest_width_counts_not_the_cheapest():
    cost = stairs([[1, 2, 9, 10], [4, 4, 5, 5]])
    found = proposals(cost, {}, 1)
    assert [(p.shrunk, p.choices) for p in found] == [
        (("d0",), {"d0": 3, "d1": 4}),
        (("d1",), {"d0": 4, "d1": 2}),
    ]


def test_where_no_decision_is_enough_the_last_of_a_combination_stays_as_wide_as_it_can():
    cost = stairs([[2, 3, 4], [5, 7, 8]])
    assert [p.choices for p in proposals(cost, {}, 4)] == [{"d0": 1, "d1": 1}, {"d0": 2, "d1": 1}]
    assert proposals(cost, {}, 5.1) == []


def test_steps_decay_to_a_quarter_and_so_add_up_to_anything():
    shares = [reduction_share(n, 0.025, 0.96) for n in range(120)]
    assert shares[:3] == pytest.approx([0.025, 0.024, 0.02304])
    assert min(shares) == pytest.approx(0.025 / 4)
    assert sum(shares) > 0.7  # the paper's series ends at 0.625


@pytest.mark.parametrize("wrong", [(0, 0.0, 0.9), (0, 1.0, 0.9), (0, 0.1, 0.0), (0, 0.1, 1.1), (-1, 0.1, 0.9)])
def test_steps_that_are_none_are_refused(wrong):
    with pytest.raises(InputError, match="a step needs"):
        reduction_share(*wrong)
    with pytest.raises(InputError, match="take something off"):
        proposals(toy(2).cost, {}, 0.0)
