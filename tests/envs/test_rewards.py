"""Rewards against their formulas, and the trap of units."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from autoprune.cost import AdditiveCost, CostEntry
from autoprune.envs import AccuracyGuaranteed, PruningEnv, ResourceConstrained
from autoprune.errors import InputError
from autoprune.space import Decision, SearchSpace


@dataclass(frozen=True)
class Linear:
    scale: float

    def __call__(self, widths):
        return self.scale * widths[:, 0].astype(np.float64)


def one_layer(scale):
    space = SearchSpace((Decision("a", 4, (1, 2, 4)),))
    return space, AdditiveCost("latency", "ms", space, [CostEntry("a", ("a",), Linear(scale))])


def test_formulas():
    assert ResourceConstrained()(0.9, 123.0) == pytest.approx(-0.1)
    assert AccuracyGuaranteed()(0.9, 100.0) == pytest.approx(-0.1 * math.log(100))
    assert AccuracyGuaranteed(scale=1e6)(0.9, 0.5) == pytest.approx(-0.1 * math.log(5e5))


def test_milliseconds_below_one_are_refused_because_they_would_reward_errors():
    space, cost = one_layer(0.4)  # 0.4 to 1.6 ms
    with pytest.raises(InputError, match="nanoseconds"):
        PruningEnv(space, cost, math.inf, lambda _: 0.5, reward=AccuracyGuaranteed())
    env = PruningEnv(space, cost, math.inf, lambda c: 0.5 + c["a"] / 10, reward=AccuracyGuaranteed(scale=1e6))
    rewards = []
    for value in (-1.0, 1.0):
        env.reset()
        rewards.append(env.step(np.array([value], dtype=np.float32))[1])
    assert rewards == [pytest.approx(-0.4 * math.log(4e5)), pytest.approx(-0.1 * math.log(1.6e6))]
