"""What methods have in common whose inputs choose one of a few paths by thresholds: exits, and widths."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar

from autoprune.dynamic_networks.flow import Flow
from autoprune.early_exit.thresholds import Answers, Choice, Times
from autoprune.errors import InputError
from autoprune.pipeline.jobs.dynamic.choosing import candidates
from autoprune.pipeline.jobs.dynamic.figures import figures, pictured
from autoprune.pipeline.jobs.dynamic.methods.base import Prepared
from autoprune.pipeline.jobs.dynamic.verified import Verified
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.settings import DynamicSettings

__all__ = ["LEAST_SAMPLES", "Routed", "require_samples"]

LEAST_SAMPLES = 100
"""Samples of the search split without which no loss can be bounded."""


def require_samples(count: int, reporter: Reporter) -> None:
    """Refuse a search split on which no loss can be bounded; say so where it is small.

    Raises:
        InputError: If it is too small.
    """
    if count < LEAST_SAMPLES:
        raise InputError(f"the search split has {count} samples; no loss can be bounded on fewer than {LEAST_SAMPLES}")
    if count < 1000:
        reporter.say(f"the search split has only {count} samples: the bound of the loss is wide, and few inputs leave")


class Routed(Prepared):
    """Alternatives in the order of their times, each with a confidence; the first that is sure enough answers.

    Args:
        task: The network and its data.
        run: Its settings have the limits.
        flow: The dense network's graph.
        times: Of the paths, as measured.
        names: Of the alternatives, the dense network's own path aside.
        reporter: Shows the stages.
    """

    probability: ClassVar[str]
    """A kind of confidence that is a probability of being right; the page holds it against accuracy."""

    def __init__(
        self, task: Task, run: RunDir, flow: Flow, times: Times, names: Sequence[str], reporter: Reporter
    ) -> None:
        self.task, self.run, self.flow, self.times, self.names = task, run, flow, times, tuple(names)
        self.reporter, self.dense_ms = reporter, times.dense

    @property
    def settings(self) -> DynamicSettings:
        """The limits."""
        return self.run.experiment

    @abstractmethod
    def answers(self, batches: Iterable[Any]) -> Answers:
        """What every alternative, and last the dense network, answers to the batches, which are read once."""

    @cached_property
    def search(self) -> Answers:
        """Answers on the search split."""
        with self.reporter.stage("search", "answers of every path on the search split"):
            found = self.answers(self.task.data.search)
        require_samples(found.right.shape[1], self.reporter)
        return found

    @cached_property
    def test(self) -> Answers:
        """Answers on the test split."""
        with self.reporter.stage("test", "scoring on the test split"):
            return self.answers(self.task.data.test)

    @property
    def search_accuracy(self) -> float:
        """The dense network's on the search split."""
        return float(self.search.dense.mean())

    def expected(self, choice: Choice) -> tuple[int, ...]:
        """Number of the search split's inputs on each path."""
        inputs = self.search.right.shape[1]
        return tuple(round(share * inputs) for share in choice.shares)

    def choices(self) -> Iterable[Choice]:
        """Every tuple of thresholds tried."""
        search = self.search
        with self.reporter.stage("search", "trying every tuple of thresholds"):
            return candidates(search, self.times, self.settings)

    def tested(self, verified: Verified | None) -> dict[str, Any]:
        """Who takes which path, and who is right."""
        if verified is not None:
            return figures(self.names, verified, self.test)
        return {"dense": {"accuracy": float(self.test.dense.mean()), "latency_ms": self.dense_ms}}

    def pictured(self, verified: Verified) -> dict[str, Any]:
        """Curves, classes, reliability."""
        return pictured(verified, self.search, self.test, self.probability)
