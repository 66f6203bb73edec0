"""What all methods have in common: answers on the two splits, each computed once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from autoprune.dynamic_networks.flow import Flow
from autoprune.errors import InputError
from autoprune.pipeline.jobs.dynamic.methods.base import Prepared
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.settings import DynamicSettings

__all__ = ["LEAST_SAMPLES", "Judged"]

LEAST_SAMPLES = 100
"""Samples of the search split without which no loss can be bounded."""

_FEW = 1000  # samples; on fewer the bound is wide


class Outcome(Protocol):
    """What a network with any thresholds answers to the inputs of a split."""

    @property
    def dense(self) -> NDArray[np.bool_]:
        """Whether the network that losses count from is right, (inputs,)."""


Found = TypeVar("Found", bound=Outcome)


class Judged(Prepared, Generic[Found]):
    """A network whose thresholds are chosen on the search split and judged on the test split.

    Args:
        task: The network and its data.
        run: Its settings have the limits.
        flow: The dense network's graph.
        dense_ms: The dense network on the target.
        reporter: Shows the stages.
    """

    def __init__(self, task: Task, run: RunDir, flow: Flow, dense_ms: float, reporter: Reporter) -> None:
        self.task, self.run, self.flow, self.dense_ms, self.reporter = task, run, flow, dense_ms, reporter

    @property
    def settings(self) -> DynamicSettings:
        """The limits."""
        return self.run.experiment

    @abstractmethod
    def answers(self, batches: Iterable[Any]) -> Found:
        """What the network answers to the batches, which are read once, whatever its thresholds."""

    def final_answers(self, batches: Iterable[Any]) -> Found:
        """The same of the network that is handed over, where some thresholds make it another one."""
        return self.answers(batches)

    @cached_property
    def search(self) -> Found:
        """Answers on the search split.

        Raises:
            InputError: If it is too small for any bound of the loss.
        """
        with self.reporter.stage("search", "answers on the search split"):
            found = self.answers(self.task.data.search)
        count = len(found.dense)
        if count < LEAST_SAMPLES:
            raise InputError(
                f"the search split has {count} samples; no loss can be bounded on fewer than {LEAST_SAMPLES}"
            )
        if count < _FEW:
            self.reporter.say(
                f"the search split has only {count} samples: the bound of the loss is wide, and few inputs leave"
            )
        return found

    @cached_property
    def test(self) -> Found:
        """Answers on the test split."""
        with self.reporter.stage("test", "scoring on the test split"):
            return self.final_answers(self.task.data.test)

    @property
    def search_accuracy(self) -> float:
        """The dense network's on the search split."""
        return float(self.search.dense.mean())
