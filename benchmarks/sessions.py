"""How repeatable the share of the dense latency is: the same networks in several processes, and rules to decide by.

    python benchmarks/sessions.py --model mobilenet_v2 --size 32 --target openvino --passes 10

Times the dense network and three random pruned ones, interleaved, in fresh processes. Then draws passes from these at
random and lets two rules take a value from up to four: the quietest pass as a whole (until two agree within 3 %), and
the least latency of each network (three at least, until the two least of each agree within 1 %). Prints the standard
deviation of the pruned networks' shares of the dense latency, one process alone and by either rule.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch
from numpy.typing import NDArray

import autoprune
from autoprune.hardware import Protocol, get_target
from autoprune.models import ZOO

_DRAWS = 4000


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobilenet_v2", choices=sorted(ZOO), help="zoo name")
    parser.add_argument("--size", type=int, default=32, help="height and width of the image")
    parser.add_argument("--target", default="openvino", help="a target, with options: openvino@bf16")
    parser.add_argument("--passes", type=int, default=10, help="processes")
    return parser.parse_args()


def main() -> None:
    """Measure, draw, compare."""
    torch.set_num_threads(1)
    chosen = arguments()
    model, example = ZOO[chosen.model]().eval(), torch.zeros(1, 3, chosen.size, chosen.size)
    space = autoprune.search_space(model, example, target=chosen.target)
    networks = [model, *(autoprune.apply(model, space.random(seed=seed), example) for seed in (1, 2, 3))]
    target = get_target(chosen.target)
    payloads = [target.pack(network, example) for network in networks]
    passes = np.array([[m.ms for m in target.time(payloads, Protocol(block=0.06))] for _ in range(chosen.passes)])
    draw = np.random.default_rng(0)
    drawn = [passes[draw.integers(0, len(passes), 4)] for _ in range(_DRAWS)]
    report = {
        "device": target.fingerprint(),
        "ms": passes.tolist(),
        "one process": deviation(passes),
        "quietest pass as a whole": deviation(np.array([quietest(each) for each in drawn])),
        "least of each network": deviation(np.array([least(each) for each in drawn])),
    }
    print(json.dumps(report, indent=1))


def quietest(passes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pass with the least sum, as soon as the two quietest agree."""
    for count in (2, 3, 4):
        taken, low = passes[:count], passes[:count].min(axis=0)
        first, second = taken[np.argsort((taken / low).sum(axis=1))][:2]
        if np.max(np.abs(first - second) / low) <= 0.03:
            break
    return first


def least(passes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least of each network, as soon as the two least of each agree."""
    for count in (3, 4):
        low = np.sort(passes[:count], axis=0)
        if np.max(low[1] / low[0] - 1) <= 0.01:
            break
    return low[0]


def deviation(values: NDArray[np.float64]) -> float:
    """Standard deviation of the shares of the dense latency, relative, the mean over the pruned networks."""
    shares = values[:, 1:] / values[:, :1]
    return round(float(np.mean(shares.std(axis=0) / shares.mean(axis=0))), 4)


if __name__ == "__main__":
    main()
