"""What paths through a network with exits take on the target, each by the standing protocol, and a stream of inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from autoprune.early_exit.flow import Flow
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.onnx_file import nested_file, parts_of
from autoprune.early_exit.onnx_nodes import captured_weights
from autoprune.early_exit.places import Place
from autoprune.early_exit.thresholds import NEVER, PathTimes
from autoprune.errors import AutopruneError
from autoprune.foundations.progress import Progress
from autoprune.hardware.contract.protocol import Measurement
from autoprune.hardware.targets.local import LocalTarget
from autoprune.hardware.timing.effort import Effort
from autoprune.hardware.timing.measure import least_of
from autoprune.pipeline.device import target_of
from autoprune.run.directory import RunDir

__all__ = ["Stream", "calls_of", "checked_file", "local_target", "path_times", "timed_files"]

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


def timed_files(
    target: LocalTarget, payloads: Sequence[bytes], effort: Effort, progress: Progress
) -> list[Measurement]:
    """Payloads interleaved in fresh processes; the least of each counts."""
    protocol = effort.plan(effort.seconds).protocol
    passes = [target.time(payloads, protocol, lambda done, total: progress(done, total, "paths timed"))]
    passes += [target.time(payloads, protocol) for _ in range(effort.passes - 1)]
    return least_of(passes)[0]


def path_times(
    flow: Flow,
    places: Sequence[Place],
    heads: Sequence[ExitHead],
    dense: bytes,
    target: LocalTarget,
    effort: Effort,
    progress: Progress,
) -> PathTimes:
    """What leaving at each place takes, and what an exit there adds to those who go on.

    For every place there is a file with that exit alone, timed once with the exit open to all and once shut.

    Args:
        flow: The network.
        places: Offered ones.
        heads: One a place; what they have learned does not matter.
        dense: The packed network without exits.
        target: Where.
        effort: How long.
        progress: Called with (done, all, what).
    """
    payloads = [dense]
    for number, (place, head) in enumerate(zip(places, heads, strict=True)):
        parts = parts_of(flow, [place.node], [head], for_timing=True)
        payloads += [nested_file(parts, "max", [0.0]), nested_file(parts, "max", [NEVER])]
        progress(number + 1, len(places), "places exported")
    whole, *pairs = [each.ms for each in timed_files(target, payloads, effort, progress)]
    leaves, passes = pairs[::2], pairs[1::2]
    return PathTimes(whole, tuple(leaves), tuple(max(0.0, ms - whole) for ms in passes))


def checked_file(content: bytes) -> bytes:
    """A file whose branches own their weights.

    Raises:
        AutopruneError: If one does not.
    """
    if captured := captured_weights(content):
        raise AutopruneError(f"internal error: a branch reads the weight {captured[0]} of the graph around it")
    return content


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


def local_target(run: RunDir) -> LocalTarget:
    """The run's target, which `check_dynamic` has found to run one branch of a file alone."""
    target = target_of(run.experiment)
    if not isinstance(target, LocalTarget):
        raise AutopruneError("internal error: the target was not checked")
    return target
