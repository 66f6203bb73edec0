"""Expected latency: the sum by hand, for every policy; solvers and the action mask work on it unchanged."""

import itertools

import numpy as np
import pytest

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.metrics.expected import PlannedExit, expected_cost, stage_costs, with_exits
from autoprune.cost.terms import CostEntry
from autoprune.space import Decision, SearchSpace

WIDTHS = SearchSpace((Decision("a", 4, (1, 2, 4)), Decision("b", 4, (2, 4)), Decision("c", 3, (1, 3))))
EXITS = (PlannedExit("first", 1, 0.5, 0.3, 0.2), PlannedExit("second", 3, 0.2, 0.4, 0.1))


def parts(kept):
    """Milliseconds of the four layers, and the constant."""
    return [1.0 * kept["a"], 0.5 * kept["a"] * kept["b"], 2.0 * kept["b"], 1.5 * kept["c"], 0.7]


def cost():
    entries = [
        CostEntry("one", ("a",), lambda kept: 1.0 * kept[:, 0]),
        CostEntry("two", ("a", "b"), lambda kept: 0.5 * kept[:, 0] * kept[:, 1]),
        CostEntry("three", ("b",), lambda kept: 2.0 * kept[:, 0]),
        CostEntry("four", ("c",), lambda kept: 1.5 * kept[:, 0]),
        CostEntry("constant", (), lambda kept: np.full(len(kept), 0.7)),
    ]
    return AdditiveCost("latency", "ms", WIDTHS, entries)


def by_hand(kept):
    one, two, three, four, constant = parts(kept)
    first, second = kept["first"] == 0, kept["second"] == 0
    after_first = 0.5 if first else 1.0
    after_second = min(after_first, 0.2 if second else 1.0)
    total = constant + one + after_first * (two + three) + after_second * four
    if first:
        total += 0.5 * 0.3 + 0.5 * 0.2
    if second:
        total += (after_first - 0.2) * 0.4 + 0.2 * 0.1
    return total


@pytest.fixture(scope="module")
def joint():
    return expected_cost(cost(), with_exits(WIDTHS, cost(), EXITS), EXITS)


def policies(space):
    for options in itertools.product(*(each.options for each in space.decisions)):
        yield dict(zip(space.names, options, strict=True))


def test_every_policy_costs_what_the_sum_by_hand_says(joint):
    for kept in policies(joint.space):
        assert joint.cost(kept) == pytest.approx(by_hand(kept))


def test_without_exits_it_is_the_cost_of_the_widths(joint):
    for kept in policies(WIDTHS):
        assert joint.cost(kept | {"first": 1, "second": 1}) == pytest.approx(cost().cost(kept))
    assert joint.dense == pytest.approx(cost().dense)


def test_exits_are_decided_behind_the_widths_before_them(joint):
    assert joint.space.names == ("a", "first", "b", "second", "c")


def test_the_least_is_the_least_of_all_policies(joint):
    assert joint.least()[0] == pytest.approx(min(by_hand(kept) for kept in policies(joint.space)))


def test_stages_add_up_to_the_whole_and_lie_between_the_exits():
    stages = stage_costs(cost(), EXITS)
    for kept in policies(WIDTHS):
        one, two, three, four, constant = parts(kept)
        assert [stage.cost(kept) for stage in stages] == pytest.approx([one + constant, two + three, four])
