"""What one episode costs beside its evaluation: act, mask, price, select, as a share of the evaluation's time.

    python benchmarks/episode_overhead.py

ResNet-20 on Fashion-MNIST with its shipped weights, half the multiply-accumulates, the search split's scoring images.
Processor time of one thread, median over episodes of random actions.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from autoprune.cost.macs import macs_cost
from autoprune.criteria.ranking import kept_units, ranking
from autoprune.data import load
from autoprune.envs import PruningEnv, amc_features
from autoprune.evaluation import accuracy
from autoprune.graph import Selector, analyse
from autoprune.models import load_weights, resnet20
from autoprune.pipeline.task import shipped_weights, split_search_set
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.techniques.space import space_of


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=10)
    episodes = parser.parse_args().episodes
    torch.set_num_threads(1)
    data = load("fashion-mnist", None)
    model = resnet20(in_channels=1)
    weights = shipped_weights("resnet20", "fashion-mnist")
    if weights is None:
        raise SystemExit("the shipped weights are missing")
    load_weights(model, weights)
    analysis = analyse(model, data.example)
    space = space_of(analysis, target="onnxruntime")
    cost = macs_cost(analysis, space)
    order = ranking(model, analysis)
    selector = Selector(model, analysis)
    scoring, _ = split_search_set(data.search)
    calibration = list(data.calibration)
    timed: dict[str, list[float]] = {"select": [], "evaluate": [], "episode": []}

    def score(choices: dict[str, int]) -> float:
        start = time.process_time()
        small = selector.select(kept_units(order, choices))
        selected = time.process_time()
        reestimate_batch_norm(small, calibration)
        result = accuracy(small, scoring)
        timed["select"].append(selected - start)
        timed["evaluate"].append(time.process_time() - selected)
        return result

    env = PruningEnv(space, cost, 0.5 * cost.dense, score, amc_features(analysis, space))
    env.action_space.seed(0)
    for _ in range(episodes):
        start = time.process_time()
        env.reset()
        done = False
        while not done:
            done = env.step(env.action_space.sample())[2]
        timed["episode"].append(time.process_time() - start)
    evaluation = statistics.median(timed["evaluate"])
    rest = [e - v for e, v in zip(timed["episode"], timed["evaluate"], strict=True)]
    shares = sorted(r / v for r, v in zip(rest, timed["evaluate"], strict=True))
    print(f"evaluation: median {evaluation * 1e3:.0f} ms of processor time, {episodes} episodes")
    print(f"act, mask, price, select: median {statistics.median(rest) * 1e3:.1f} ms")
    print(f"select alone: median {statistics.median(timed['select']) * 1e3:.2f} ms")
    print(f"share of the evaluation: {statistics.median(shares):.2%} (from {shares[0]:.2%} to {shares[-1]:.2%})")


if __name__ == "__main__":
    main()
