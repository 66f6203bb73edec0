"""What paths through a network with exits take on the target, each by the standing protocol."""

from __future__ import annotations

from collections.abc import Sequence

from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.onnx_nodes import captured_weights
from autoprune.dynamic_networks.thresholds import NEVER, PathTimes
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.onnx_file import nested_file, parts_of
from autoprune.early_exit.places import Place
from autoprune.errors import AutopruneError
from autoprune.foundations.progress import Progress
from autoprune.hardware.contract.protocol import Measurement
from autoprune.hardware.targets.local import LocalTarget
from autoprune.hardware.timing.effort import Effort, effort_named
from autoprune.hardware.timing.measure import least_of
from autoprune.pipeline.device import branching_target, target_of
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir

__all__ = ["beside_dense", "checked_file", "local_target", "path_times", "timed_files"]


def timed_files(
    target: LocalTarget, payloads: Sequence[bytes], effort: Effort, progress: Progress
) -> list[Measurement]:
    """Payloads interleaved in fresh processes; the least of each counts."""
    protocol = effort.plan(effort.seconds).protocol
    passes = [target.time(payloads, protocol, lambda done, total: progress(done, total, "paths timed"))]
    passes += [target.time(payloads, protocol) for _ in range(effort.passes - 1)]
    return least_of(passes)[0]


def beside_dense(task: Task, run: RunDir, files: Sequence[bytes], progress: Progress) -> list[float]:
    """Milliseconds of the dense network, and of files timed beside it.

    Args:
        task: The dense network.
        run: Its settings say on which target, and how long.
        files: ONNX models.
        progress: Called with (done, all, what).
    """
    target = local_target(run)
    payloads = [target.pack(task.model, task.example), *files]
    return [each.ms for each in timed_files(target, payloads, effort_named(run.experiment.timing), progress)]


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


def local_target(run: RunDir) -> LocalTarget:
    """The run's target, which runs one branch of a file alone."""
    return branching_target(target_of(run.experiment))
