"""What methods have in common whose inputs choose one of a few paths by thresholds: exits, and widths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.thresholds import Answers, Choice, Times
from autoprune.pipeline.jobs.dynamic.choosing import candidates
from autoprune.pipeline.jobs.dynamic.figures import figures, pictured
from autoprune.pipeline.jobs.dynamic.methods.judged import Judged
from autoprune.pipeline.jobs.dynamic.verified import Verified
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir

__all__ = ["Routed"]


class Routed(Judged[Answers]):
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
        super().__init__(task, run, flow, times.dense, reporter)
        self.times, self.names = times, tuple(names)

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
