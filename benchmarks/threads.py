"""A training step of ResNet-20 by threads and by how they wait for each other, on a free machine or beside a busy core.

    python benchmarks/threads.py            # --busy 1 keeps a core at work meanwhile

128 images of 28x28, forward and backward. Every cell is a process of its own, as OpenMP reads the environment once;
cells come in turn, --rounds times. Printed are medians over all steps in milliseconds, float32 and bfloat16.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack

import torch
from torch.nn.functional import cross_entropy

from autoprune.models import build

CELLS = (("1", ""), ("2", ""), ("2", "passive"))
_STEPS = 12
_WARMUP = 2


def steps(reduced: bool) -> list[float]:
    """Milliseconds of single steps."""
    torch.manual_seed(0)
    model = build("resnet20", in_channels=1, seed=0)
    x, y = torch.randn(128, 1, 28, 28), torch.randint(0, 10, (128,))
    found = []
    for _ in range(_WARMUP + _STEPS):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            loss = cross_entropy(model(x).float(), y)
        loss.backward()
        found.append(1e3 * (time.perf_counter() - start))
    return found[_WARMUP:]


def main() -> None:
    """Run every cell in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=0, help="processes that compute without end meanwhile")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(*steps(reduced=False), *steps(reduced=True))
        return
    found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    with ExitStack() as stack:
        for _ in range(given.busy):
            stack.callback(subprocess.Popen([sys.executable, "-c", "while True: pass"]).kill)
        for _ in range(given.rounds):
            for threads, policy in CELLS:
                environment = {**os.environ, "OMP_NUM_THREADS": threads}
                environment |= {"OMP_WAIT_POLICY": policy} if policy else {}
                command = [sys.executable, __file__, "--one"]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                found[threads, policy].append([float(word) for word in done.stdout.split()])
    print("| threads | OMP_WAIT_POLICY | float32, ms | bfloat16, ms |", "|---|---|---|---|", sep="\n")
    for (threads, policy), rounds in found.items():
        halves = [[ms for each in rounds for ms in part(each)] for part in (lambda x: x[:_STEPS], lambda x: x[_STEPS:])]
        print(f"| {threads} | {policy} | {' | '.join(f'{statistics.median(half):.0f}' for half in halves)} |")


if __name__ == "__main__":
    main()
