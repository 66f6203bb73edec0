"""Seconds of a step of training, and of a score, each timed on a copy."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from autoprune.models.copying import duplicate
from autoprune.pipeline.finish.fine_tuning import reported_score
from autoprune.pipeline.preflight.reading import randomness_kept
from autoprune.pipeline.task import Task
from autoprune.training import Trainer

__all__ = ["test_score", "training_step"]

_STEPS = 6  # timed


def training_step(task: Task, trainer_on: Callable[[Sequence[Any]], Trainer]) -> float:
    """Seconds of a step of a training, its batch read.

    Args:
        task: Left as it is, its train split's random generator included.
        trainer_on: Gives the trainer of a network that may be trained, on the batches that it is handed.
    """
    train: Iterable[Any] = task.data.train
    with randomness_kept(train):
        start = time.perf_counter()
        batches = list(itertools.islice(train, _STEPS))
        reading = (time.perf_counter() - start) / max(1, len(batches))
    marks = [time.perf_counter()]
    trainer_on(batches).run(1, on_step=lambda *_: marks.append(time.perf_counter()))
    taken = marks[1:] if len(marks) > 2 else marks  # the first step sets things up
    return (taken[-1] - taken[0]) / max(1, len(taken) - 1) + reading


def test_score(task: Task) -> float:
    """Seconds of the score that is reported, on the test split."""
    start = time.perf_counter()
    reported_score(task, duplicate(task.model), task.data.test)
    return time.perf_counter() - start
