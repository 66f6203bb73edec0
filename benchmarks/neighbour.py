"""A neighbour on the other core: bursts of arithmetic and of memory traffic, at random, as on a shared machine.

    python benchmarks/neighbour.py --seconds 60

Runs until it is ended, or for so long. `table_error.py --disturb` starts it beside a profile.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_BURST, _GAP = (0.5, 8.0), (0.3, 6.0)  # seconds, drawn on a logarithmic scale
_SIDE, _BYTES = 256, 96 << 20  # of the matrices that are multiplied; of the buffer that is copied


@contextlib.contextmanager
def neighbour(seed: int = 0) -> Iterator[None]:
    """The neighbour beside what is done inside; it ends with it.

    Args:
        seed: Of its bursts.
    """
    command = [sys.executable, str(Path(__file__).resolve()), "--seed", str(seed)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Bursts and gaps until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long; default until it is ended")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    draw = np.random.default_rng(chosen.seed)
    matrix, source = np.ones((_SIDE, _SIDE), np.float32), np.zeros(_BYTES, np.uint8)
    goal, end = np.empty_like(source), time.monotonic() + chosen.seconds
    while time.monotonic() < end:
        until = time.monotonic() + _length(draw, _BURST)
        arithmetic = bool(draw.integers(2))
        while time.monotonic() < until:
            if arithmetic:
                matrix @ matrix
            else:
                np.copyto(goal, source)
        time.sleep(_length(draw, _GAP))


def _length(draw: np.random.Generator, between: tuple[float, float]) -> float:
    return float(np.exp(draw.uniform(*np.log(between))))


if __name__ == "__main__":
    main()
