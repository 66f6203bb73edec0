"""Choices of exits on the target: every path timed, a stream of inputs beside the dense network's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from autoprune.early_exit.fit import Cut
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.onnx_file import nested_file, parts_of
from autoprune.early_exit.thresholds import NEVER, Choice
from autoprune.errors import AutopruneError, BudgetError
from autoprune.export.onnx import to_onnx
from autoprune.hardware.targets.local import LocalTarget
from autoprune.hardware.timing.effort import effort_named
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.dynamic.deadlines import deadlines_of
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


@dataclass(frozen=True)
class Missed:
    """A limit that a choice is over.

    Attributes:
        what: Of which time.
        ms: What it takes as measured.
        limit: What it may take, in milliseconds.
        asked: Whether only a user sets such a limit.
    """

    what: str
    ms: float
    limit: float
    asked: bool


@dataclass(frozen=True, eq=False)
class Verified:
    """A choice whose file was timed.

    Attributes:
        choice: The exits.
        file: The ONNX model.
        dense_ms: The dense network in the same session.
        paths_ms: Every path, that to the end last.
        streams: Of the dense network and of the file.
        deadlines: For every path its deadline and the share of calls that keep it; empty unless they were asked for.
    """

    choice: Choice
    file: bytes
    dense_ms: float
    paths_ms: tuple[float, ...]
    streams: tuple[Stream, Stream]
    deadlines: tuple[dict[str, float], ...] = ()

    @property
    def predicted(self) -> float:
        """Expected time in milliseconds from paths and shares."""
        return float(np.dot(self.paths_ms, self.choice.shares))

    @property
    def measured_share(self) -> float:
        """The stream's mean beside the dense network's in the same stream."""
        return self.streams[1].mean / self.streams[0].mean

    @property
    def mean_ms(self) -> float:
        """The mean as paths and shares give it, or as the stream took it, whichever is longer."""
        return max(self.predicted, self.measured_share * self.dense_ms)

    @property
    def p95_ms(self) -> float:
        """The stream's 95th percentile, at the dense network's time of the paths' session."""
        return self.streams[1].p95 / self.streams[0].mean * self.dense_ms

    def missed(self, settings: DynamicSettings) -> Missed | None:
        """What is over its limit as measured; None where all hold.

        Half a percent of the longest path and one of the others are taken for noise.
        """
        dense = self.dense_ms
        found = [
            ("mean", self.mean_ms, settings.limit_ms("mean_latency", dense), 1.01, True),
            ("95th percentile", self.p95_ms, settings.limit_ms("p95", dense), 1.01, True),
            ("longest path", max(self.paths_ms), settings.limit_ms("worst", dense) or dense, 1.005, False),
        ]
        over = (
            Missed(what, ms, most, by_user) for what, ms, most, noise, by_user in found if most and ms > noise * most
        )
        return next(over, None)


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
    choices: Iterable[Choice],
    settings: DynamicSettings,
    reporter: Reporter,
) -> Verified | None:
    """The best choice that keeps all limits as measured; None if none is worth it.

    Raises:
        BudgetError: If a limit that was asked for is missed by every choice that was timed.
    """
    slower, attempts = 1.0, 0
    asked: float | None = None
    over: Missed | None = None
    for choice in choices:
        if asked is not None and over is not None and (expected := slower * choice.mean_ms) > asked:
            over = replace(over, ms=min(over.ms, expected)) if over.limit == asked else over
            continue  # its stream would take longer than was asked for, too
        if attempts == _ATTEMPTS:
            break
        with reporter.stage("verify", "timing every path and a stream of inputs") as bar:
            found = _verified(task, run, cut, heads, choice, attempts, bar)
        attempts += 1
        asked = settings.limit_ms("mean_latency", found.dense_ms)
        missed = found.missed(settings)
        if missed is not None:
            reporter.say(
                f"the {missed.what} takes {missed.ms / found.dense_ms:.1%} of dense as measured; another choice"
            )
            slower = max(slower, found.mean_ms / choice.mean_ms)
            over = missed if missed.asked and (over is None or missed.ms < over.ms) else over
        elif settings.anytime or found.measured_share <= 1 - LEAST_GAIN:
            return found
    if over is not None:
        raise BudgetError(
            f"a {over.what} of {over.limit:.4g} ms is not met as measured; the least is about {over.ms:.4g} ms", over.ms
        )
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
        inputs = _singles(task, cut, run.experiment.seed)
        streams, _ = stream_of(target, [dense, file], inputs)
        deadlines = deadlines_of(target, parts, choice.confidence, inputs) if run.experiment.anytime else []
        streamed = [asdict(stream) for stream in streams]
        return {"dense": whole, "paths": each, "streams": streamed, "deadlines": deadlines}

    found = run.once(f"dynamic verification {attempt}", session)
    one, other = (Stream(**content) for content in found["streams"])
    deadlines = tuple(found.get("deadlines", ()))
    return Verified(choice, file, found["dense"], tuple(found["paths"]), (one, other), deadlines)


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
