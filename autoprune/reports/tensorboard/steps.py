"""A progressive run in TensorBoard. Every scalar written here is defined in docs/tensorboard.md."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from autoprune.reports.steps import signals_of
from autoprune.reports.tensorboard.log import EventLog
from autoprune.run.records import StepRecord
from autoprune.space import SearchSpace

__all__ = ["StepWriter"]

_FIGURES = (
    "predicted",
    "measured",
    "limit",
    "over",
    "goal",
    "latency_ms",
    "dense_ms",
    "accuracy_cut",
    "accuracy",
    "score_cut",
    "score",
    "proposals",
    "seconds",
)


class StepWriter:
    """Writes the steps of a progressive run as TensorBoard scalars; the axis is the step, 0 the dense network.

    Args:
        folder: The event files' folder; made if it is missing.
        space: The decisions, for the shares kept.
        first_step: The first step that will be written; what a killed run wrote from there on is discarded.

    Raises:
        InputError: If the folder cannot be written to.
    """

    def __init__(self, folder: Path, space: SearchSpace, *, first_step: int = 0) -> None:
        self._space = space
        self._log = EventLog(folder, first_step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.__exit__(kind, error, trace)

    def step(self, step: StepRecord) -> None:
        """Write a finished step; figures that are None are not written."""
        scalars: dict[str, float | None] = {f"step/{name}": getattr(step, name) for name in _FIGURES}
        scalars["step/paused_seconds"] = 0.0 if step.throttled is None else step.throttled.seconds
        scalars |= {f"signal/{name}": reading["value"] for name, reading in signals_of(step).items()}
        for decision in self._space.decisions:
            scalars[f"keep/{decision.name}"] = step.choices.get(decision.name, decision.width) / decision.width
        self._log.scalars({tag: value for tag, value in scalars.items() if value is not None}, step.step)
