"""The plan of a job, as values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from autoprune.reports.format import duration

__all__ = ["Plan", "PlannedStage", "Work"]


class Work(Enum):
    """What is planned: a search alone, one with fine-tuning, or pruning in measured steps."""

    SEARCH = "search"
    COMPRESS = "compress"
    PROGRESSIVE = "progressive"


@dataclass(frozen=True)
class PlannedStage:
    """A part of the job.

    Attributes:
        name: What it does.
        seconds: About how long; infinite where nothing bounds it.
        source: Where the estimate comes from.
    """

    name: str
    seconds: float
    source: str


@dataclass(frozen=True)
class Plan:
    """What a job would do.

    Attributes:
        model: The network's name.
        decisions: How many of each kind.
        frozen: Layers that stay, and why.
        budget: What is asked for, and what is known of its range.
        stages: In order, with estimated seconds.
        written: Files of the run's folder.
        run: That folder.
    """

    model: str
    decisions: Mapping[str, int]
    frozen: Mapping[str, str]
    budget: str
    stages: tuple[PlannedStage, ...]
    written: tuple[str, ...]
    run: str

    @property
    def seconds(self) -> float:
        """Of all stages together."""
        return sum(stage.seconds for stage in self.stages)

    def __str__(self) -> str:
        """The plan for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        kinds = ", ".join(f"{count} of kind {kind}" for kind, count in self.decisions.items())
        yield f"plan for {self.model}: {sum(self.decisions.values())} decisions ({kinds}); {len(self.frozen)} frozen"
        yield f"budget: {self.budget}"
        for stage in self.stages:
            yield f"  {stage.name}: {_about(stage.seconds)} ({stage.source})"
        yield f"in all: {_about(self.seconds)}"
        yield f"would be written to {self.run}: {', '.join(self.written)}"


def _about(seconds: float) -> str:
    return "as long as it takes" if math.isinf(seconds) else f"about {duration(seconds)}"
