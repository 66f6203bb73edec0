"""What a price takes: microseconds a changed decision, a policy, and a partial policy's bounds.

    python benchmarks/pricing.py

The cost has a latency table's shape without its clock: every operator of the network, priced by its multiply-
accumulates, over the widths that a search would look at. Best of several repetitions, one thread, processor time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from autoprune.cost import AdditiveCost, FeasibleActions
from autoprune.cost.macs import macs_cost
from autoprune.graph import analyse
from autoprune.models import ZOO
from autoprune.techniques.space import space_of

_REPETITIONS = 7


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet20", "resnet56", "mobilenet_v1", "mobilenet_v2"])
    names = ("us/change", "us/policy", "of 1000", "us/step")
    print(f"{'model':>14} {'decisions':>9} {'terms':>6} " + " ".join(f"{name:>10}" for name in names))
    for name in parser.parse_args().models:
        analysis = analyse(ZOO[name](), torch.zeros(1, 3, 32, 32), validate=False)
        space = space_of(analysis, grid=4)
        cost = macs_cost(analysis, space)
        figures = changed(cost), one_by_one(cost), together(cost), bounds(cost)
        print(f"{name:>14} {len(space):>9} {len(cost.terms):>6} " + " ".join(f"{each:>10.2f}" for each in figures))


def policies(cost: AdditiveCost, n: int) -> np.ndarray:
    """Option numbers of random policies, shape (n, decisions)."""
    draw = np.random.default_rng(0)
    return np.stack([draw.integers(0, len(d.options), n) for d in cost.space.decisions], axis=1)


def changed(cost: AdditiveCost) -> float:
    """Every decision of a policy changed in turn, each price from the one before."""
    start, goal = (row.tolist() for row in policies(cost, 2))
    total = float(cost.costs(np.array([start]))[0])

    def walk() -> None:
        now, price = list(start), total
        for d, option in enumerate(goal):
            price = cost.reprice(now, price, {d: option})
            now[d] = option

    return microseconds(walk) / len(goal)


def one_by_one(cost: AdditiveCost) -> float:
    """A whole policy by its choices."""
    choices = cost.space.choices(policies(cost, 1)[0])
    return microseconds(lambda: cost.cost(choices))


def together(cost: AdditiveCost) -> float:
    """One of a thousand policies priced at once."""
    many = policies(cost, 1000)
    return microseconds(lambda: cost.costs(many)) / len(many)


def bounds(cost: AdditiveCost) -> float:
    """One step of an episode: which options can still meet half the cost, and taking one of them."""
    feasible = FeasibleActions(cost, 0.5 * cost.dense)

    def walk() -> None:
        feasible.reset()
        while feasible.step < len(cost.space):
            feasible.take(int(np.flatnonzero(feasible.allowed())[0]))

    return microseconds(walk) / len(cost.space)


def microseconds(call: Callable[[], object]) -> float:
    """Processor time of one call: the best of several repetitions of at least 20 ms."""
    best = float("inf")
    for _ in range(_REPETITIONS):
        calls, start = 0, time.thread_time()
        while (taken := time.thread_time() - start) < 0.02:
            call()
            calls += 1
        best = min(best, taken / calls)
    return best * 1e6


if __name__ == "__main__":
    main()
