"""Choices of exits on the target: every path timed, a stream of inputs beside the dense network's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from autoprune.early_exit.fit import Cut
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.onnx_file import nested_file, parts_of
from autoprune.early_exit.thresholds import NEVER, Choice
from autoprune.errors import AutopruneError
from autoprune.export.onnx import to_onnx
from autoprune.hardware.targets.local import LocalTarget
from autoprune.hardware.timing.effort import effort_named
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.dynamic.paths import Stream, checked_file, stream_of, timed_files
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.settings import DynamicSettings

__all__ = ["LEAST_GAIN", "STREAM", "Verified", "first_that_holds", "local_target"]

LEAST_GAIN = 0.03
"""Share of the mean time below which the static network is handed back."""

_ATTEMPTS = 3  # choices whose paths are timed before the static network is handed back
STREAM = 1500
"""Inputs of the stream."""


@dataclass(frozen=True, eq=False)
class Verified:
    """A choice whose file was timed.

    Attributes:
        choice: The exits.
        file: The ONNX model.
        dense_ms: The dense network in the same session.
        paths_ms: Every path, that to the end last.
        streams: Of the dense network and of the file.
    """

    choice: Choice
    file: bytes
    dense_ms: float
    paths_ms: tuple[float, ...]
    streams: tuple[Stream, Stream]

    @property
    def predicted(self) -> float:
        """Expected time in milliseconds from paths and shares."""
        return float(np.dot(self.paths_ms, self.choice.shares))

    @property
    def measured_share(self) -> float:
        """The stream's mean beside the dense network's in the same stream."""
        return self.streams[1].mean / self.streams[0].mean


def local_target(run: RunDir) -> LocalTarget:
    """The run's target, which `check_dynamic` has found to run one branch of a file alone."""
    target = target_of(run.experiment)
    if not isinstance(target, LocalTarget):
        raise AutopruneError("internal error: the target was not checked")
    return target


def first_that_holds(
    task: Task,
    run: RunDir,
    cut: Cut,
    heads: list[ExitHead],
    choices: list[Choice],
    settings: DynamicSettings,
    reporter: Reporter,
) -> Verified | None:
    """The best choice whose longest path and mean keep their limits as measured; None if none is worth it."""
    for attempt, choice in enumerate(choices[:_ATTEMPTS]):
        with reporter.stage("verify", "timing every path and a stream of inputs") as bar:
            found = _verified(task, run, cut, heads, choice, attempt, bar)
        worst = settings.limit_ms("worst", found.dense_ms) or found.dense_ms
        asked = settings.limit_ms("mean_latency", found.dense_ms)
        if max(found.paths_ms) > 1.005 * worst:
            reporter.say(
                f"the longest path takes {max(found.paths_ms) / found.dense_ms:.1%} as measured; another choice"
            )
        elif asked is not None and found.predicted > 1.01 * asked:
            reporter.say(f"the mean is {found.predicted / found.dense_ms:.1%} as measured; another choice")
        elif found.measured_share <= 1 - LEAST_GAIN:
            return found
    return None


def _verified(
    task: Task, run: RunDir, cut: Cut, heads: list[ExitHead], choice: Choice, attempt: int, bar: Any
) -> Verified:
    nodes = [cut.places[place].node for place in choice.places]
    target = local_target(run)
    parts = parts_of(cut.flow, nodes, [heads[place] for place in choice.places])
    file = checked_file(nested_file(parts, choice.confidence, choice.thresholds))
    dense = to_onnx(task.model, task.example)

    def session() -> dict[str, Any]:
        count = len(nodes)
        forced = [[0.0 if k == taken else NEVER for k in range(count)] for taken in range(count + 1)]
        paths = [nested_file(parts, choice.confidence, thresholds) for thresholds in forced]
        effort = effort_named(run.experiment.timing)
        whole, *each = [m.ms for m in timed_files(target, [dense, *paths], effort, bar)]
        streams, _ = stream_of(target, [dense, file], _singles(task, cut, run.experiment.seed))
        return {"dense": whole, "paths": each, "streams": [asdict(stream) for stream in streams]}

    found = run.once(f"dynamic verification {attempt}", session)
    one, other = (Stream(**content) for content in found["streams"])
    return Verified(choice, file, found["dense"], tuple(found["paths"]), (one, other))


def _singles(task: Task, cut: Cut, seed: int) -> list[list[Tensor]]:
    """Inputs of the search split one at a time, in an order of their own."""
    found: list[list[Tensor]] = []
    for batch in task.data.search:
        call = task.reader.call(task.model, batch)
        flat = [each for each in cut.flow.flat(call) if isinstance(each, Tensor)]
        found += [[each[row : row + 1] for each in flat] for row in range(call.batch)]
        if len(found) >= STREAM:
            break
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[number] for number in order]
