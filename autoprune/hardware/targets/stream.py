"""A stream of inputs, one call each: what networks take whose time depends on their input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.hardware.targets.local import LocalTarget

__all__ = ["Stream", "calls_of", "path_medians"]

_TURN = 25  # inputs of one file, before the next has its turn
_UNCOUNTED = (-1, -2)  # inputs of the stream's end, for the caches


@dataclass(frozen=True)
class Stream:
    """Times of single calls in milliseconds, the whole call each: mean, percentiles, longest."""

    mean: float
    p50: float
    p95: float
    p99: float
    worst: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Stream:
        """Of the times of calls; the mean leaves out the 1 % at either end, which the machine and not the call made."""
        ms = np.sort(np.asarray(seconds)) * 1e3
        cut = len(ms) // 100
        p50, p95, p99 = (float(np.percentile(ms, percent)) for percent in (50, 95, 99))
        return cls(float(ms[cut : len(ms) - cut].mean()), p50, p95, p99, float(ms[-1]))


def calls_of(
    target: LocalTarget, files: Sequence[bytes], inputs: Sequence[Sequence[Tensor]]
) -> tuple[list[list[float]], list[Any]]:
    """Seconds of every call, timed from end to end, for each file; and the outputs of the last file.

    The files take turns every few inputs, not every input: a network that is called after another one finds that its
    weights have left the caches, which happens to nobody who runs one network (docs/dynamic.md). For the same reason
    two calls before each turn are not counted.

    Args:
        target: Where; it must call networks in this process.
        files: Packed networks.
        inputs: Batches of one, in the order of the stream.
    """
    callers = [_caller(target, content) for content in files]
    clock = target.clock()
    seconds: list[list[float]] = [[] for _ in files]
    outputs: list[Any] = []
    found: Any = None
    arrays = [[each.numpy() for each in sample] for sample in inputs]
    for turn in range(0, len(arrays), _TURN):
        for times, caller in zip(seconds, callers, strict=True):
            for number in (*_UNCOUNTED, *range(turn, min(turn + _TURN, len(arrays)))):

                def call(caller: Callable[..., Any] = caller, given: Any = arrays[number]) -> None:
                    nonlocal found
                    found = caller(given)

                took = clock.sample(call, 1)[0]
                if number >= 0:
                    times.append(took)
                    outputs += [found] if times is seconds[-1] else []
    return seconds, outputs


def _caller(target: LocalTarget, content: bytes) -> Callable[..., Any]:
    caller = target.caller(content)
    if caller is None:
        raise AutopruneError(f"internal error: {target.name} cannot be called in this process")
    return caller


def path_medians(seconds: Sequence[float], taken: Sequence[int]) -> dict[int, float]:
    """The median time of the calls on each path that was taken, in milliseconds.

    Args:
        seconds: Of every call.
        taken: The path of every call.
    """
    ms = 1e3 * np.asarray(seconds)
    return {path: float(np.median(ms[np.asarray(taken) == path])) for path in sorted(set(taken))}
