"""Choices of exits on the target: every path timed, a stream of inputs beside the dense network's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from autoprune.dynamic_networks.batches import shuffled_singles
from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.thresholds import Choice
from autoprune.errors import BudgetError
from autoprune.export.onnx import to_onnx
from autoprune.hardware.targets.stream import Stream, calls_of, path_medians
from autoprune.hardware.timing.effort import effort_named
from autoprune.pipeline.jobs.dynamic.methods.base import Prepared
from autoprune.pipeline.jobs.dynamic.paths import checked_file, local_target, timed_files
from autoprune.pipeline.jobs.dynamic.verified import Missed, Verified
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.settings import DynamicSettings

__all__ = ["LEAST_GAIN", "STREAM", "first_that_holds"]

LEAST_GAIN = 0.03
"""Share of the mean time below which the static network is handed back."""

_ATTEMPTS = 3  # choices whose paths are timed before the static network is handed back
STREAM = 1500
"""Inputs of the stream."""


def first_that_holds(
    task: Task,
    run: RunDir,
    made: Prepared,
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
            found = _verified(task, run, made, choice, attempts, bar)
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


def _verified(task: Task, run: RunDir, made: Prepared, choice: Choice, attempt: int, bar: Any) -> Verified:
    target, files = local_target(run), made.files(choice)
    chosen = checked_file(files.chosen)
    dense = to_onnx(task.model, task.example)

    def session() -> dict[str, Any]:
        effort = effort_named(run.experiment.timing)
        whole, *each = [m.ms for m in timed_files(target, [dense, *files.paths], effort, bar)]
        inputs = _singles(task, made.flow, run.experiment.seed)
        seconds, outputs = calls_of(target, [dense, chosen], inputs)
        deadlines = made.forced(choice, inputs) if run.experiment.anytime else ()
        streamed = [asdict(Stream.of(each)) for each in seconds]
        medians = path_medians(seconds[-1], [int(output[1][0]) for output in outputs])
        paths = {str(path): ms for path, ms in medians.items()}
        return {"dense": whole, "paths": each, "streams": streamed, "deadlines": list(deadlines), "by_path": paths}

    found = run.once(f"dynamic verification {attempt}", session)
    one, other = (Stream(**content) for content in found["streams"])
    deadlines = tuple(found.get("deadlines", ()))
    by_path = {int(number): ms for number, ms in found.get("by_path", {}).items()}
    return Verified(choice, chosen, found["dense"], tuple(found["paths"]), (one, other), deadlines, by_path)


def _singles(task: Task, flow: Flow, seed: int) -> list[list[Tensor]]:
    """Inputs of the search split one at a time, in an order of their own."""
    calls = (task.reader.call(task.model, batch) for batch in task.data.search)
    return shuffled_singles(flow, calls, STREAM, seed)
