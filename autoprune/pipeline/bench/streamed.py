"""A network whose time depends on its input, beside the dense one: a stream of inputs, and its two extreme paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from autoprune.dynamic_networks.onnx_nodes import with_thresholds
from autoprune.dynamic_networks.thresholds import NEVER
from autoprune.errors import InputError
from autoprune.hardware import Target
from autoprune.hardware.contract.protocol import Measurement, Protocol
from autoprune.hardware.targets.local import LocalTarget
from autoprune.hardware.targets.stream import Stream, calls_of, path_medians
from autoprune.hardware.timing.measure import packed
from autoprune.pipeline.bench.spread import peak_memory, spread
from autoprune.pipeline.device import branching_target

__all__ = ["DynamicFile", "dynamic_row"]

_MOST, _LEAST = 1500, 100  # inputs of a stream


@dataclass(frozen=True, eq=False)
class DynamicFile:
    """What is run of a dynamic network.

    Attributes:
        content: The ONNX model.
        paths: Names of the paths, by their numbers in its second output.
        inputs: Gives at most so many inputs, batches of one in the order of the stream.
        path: The path that the network in torch takes with such an input.
    """

    content: bytes
    paths: tuple[str, ...]
    inputs: Callable[[int], list[list[Tensor]]]
    path: Callable[[Sequence[Tensor]], int]


def dynamic_row(
    dense: Any, file: DynamicFile, example: Any, target: Target, repetitions: int, protocol: Protocol, bar: Any
) -> dict[str, Any]:
    """Time a dynamic network on one target, as `bench.json` has it.

    The latencies are means of streams of real inputs, whole calls. The shortest and the longest path are those with all
    thresholds passed and with none, by the standing protocol.

    Args:
        dense: The network that does the whole work for every input.
        file: The dynamic one.
        example: An input, (1, ...).
        target: Where.
        repetitions: Streams.
        protocol: How the paths are timed, and for how long a stream may run.
        bar: Shows progress.

    Raises:
        InputError: If the target computes what an input does not need.
        TargetError: If it fails while it measures.
    """
    local = branching_target(target)
    payloads = packed(dense, example, local), file.content
    with local.session() as timer:
        whole, *ends = timer.time([payloads[0], *(with_thresholds(file.content, t) for t in (0.0, NEVER))], protocol)
    inputs = file.inputs(_count(protocol, whole.ms + max(each.ms for each in ends)))
    seconds: list[list[list[float]]] = []
    outputs: list[Any] = []
    for number in range(repetitions):
        found, outputs = calls_of(local, payloads, inputs)
        seconds.append(found)
        bar(number + 1, repetitions)
    streams = [tuple(Stream.of(each) for each in pair) for pair in seconds]
    columns = list(zip(*streams, strict=True))
    peaks = peak_memory(local, payloads, [whole, *ends])
    return {
        "available": True,
        "reason": None,
        "device": local.fingerprint(),
        "inputs": len(inputs),
        "dense": _summary(columns[0], [whole], local, peaks[0]) | {"path_ms": whole.ms},
        "dynamic": _summary(columns[1], ends, local, peaks[1])
        | {"shortest_ms": min(each.ms for each in ends), "longest_ms": max(each.ms for each in ends)},
        "ratio": spread([small.mean / large.mean for large, small in streams]),
        "p95_ratio": spread([small.p95 / large.p95 for large, small in streams]),
        "longest_ratio": max(each.ms for each in ends) / whole.ms,
        "paths": _paths(file, inputs, np.median([pair[1] for pair in seconds], 0).tolist(), outputs),
    }


def _summary(
    streams: Sequence[Stream], alone: Sequence[Measurement], target: LocalTarget, memory: float | None
) -> dict[str, Any]:
    mean = spread([each.mean for each in streams])
    return {
        "latency_ms": mean["median"],
        "latency_least_ms": mean["least"],
        "latency_most_ms": mean["most"],
        "p50_ms": spread([each.p50 for each in streams])["median"],
        "p95_ms": spread([each.p95 for each in streams])["median"],
        "stable": all(each.stable for each in alone),
        "clock": target.clock().name,
        "peak_memory_mb": memory,
    }


def _count(protocol: Protocol, ms: float) -> int:
    """Inputs of a stream that takes about as long as the protocol may."""
    return _MOST if protocol.seconds is None else int(min(_MOST, max(_LEAST, 1e3 * protocol.seconds / ms)))


def _paths(
    file: DynamicFile, inputs: Sequence[Sequence[Tensor]], seconds: Sequence[float], outputs: Sequence[Any]
) -> list[dict[str, Any]]:
    """A row for each path, also of those that no input takes.

    Raises:
        InputError: If the file has other paths than the run's report.
    """
    taken = [int(output[1][0]) for output in outputs]
    if max(taken) >= len(file.paths):
        raise InputError(f"the file took path {max(taken)}, and the run's report has {len(file.paths)} paths")
    medians, in_torch = path_medians(seconds, taken), [file.path(each) for each in inputs]
    return [
        {"place": name, "inputs": taken.count(number), "in_torch": in_torch.count(number), "ms": medians.get(number)}
        for number, name in enumerate(file.paths)
    ]
