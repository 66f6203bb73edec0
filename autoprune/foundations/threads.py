"""How many threads torch computes with, and whether there is a core for each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

__all__ = ["busy_cores", "crowded", "use_threads"]

_LOOKED = 0.3  # seconds for which the work of others is looked at
_TICKS = Path("/proc/stat")  # a line for each core
_SPARE = 0.5  # of a core, that may be missing


@contextmanager
def use_threads(count: int | None) -> Iterator[None]:
    """Train and score with so many threads; all of them if not given."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def crowded() -> str | None:
    """What to say where other processes leave fewer cores than torch has threads; None where each has its core.

    The threads wait for each other after every operator, and spin while they wait. So one that has no core holds up
    all of them (figures: docs/getting-started.md).
    """
    threads = torch.get_num_threads()
    busy = busy_cores() if threads > 1 else None
    cores = len(_ours())
    if busy is None or cores - busy >= threads - _SPARE:
        return None
    fewer = max(1, int(cores - busy))
    return (
        f"other processes keep {busy:.1f} of {cores} cores busy, and torch computes with {threads} threads, which wait"
        f" for each other; --train-threads {fewer} will probably be faster"
    )


def busy_cores(seconds: float = _LOOKED) -> float | None:
    """How many of this process's cores work while it sleeps; None where the system does not say it.

    Args:
        seconds: How long to look.
    """
    with suppress(OSError, ValueError, IndexError):
        before = _worked_and_idle()
        time.sleep(seconds)
        worked, idle = (after - earlier for after, earlier in zip(_worked_and_idle(), before, strict=True))
        return len(_ours()) * worked / max(1, worked + idle)
    return None


def _ours() -> set[int]:
    """The cores that this process may use."""
    given = getattr(os, "sched_getaffinity", None)  # on Linux
    return set(given(0)) if given else set(range(os.cpu_count() or 1))


def _worked_and_idle() -> tuple[int, int]:
    worked, idle, names = 0, 0, {f"cpu{number}" for number in _ours()}
    for name, *words in map(str.split, _TICKS.read_text(encoding="utf-8").splitlines()):
        if name in names:
            ticks = [int(word) for word in words[:8]]
            idle += ticks[3] + ticks[4]  # and waiting for a disk
            worked += sum(ticks) - ticks[3] - ticks[4]
    if not worked + idle:
        raise ValueError("no core of ours is there")
    return worked, idle
