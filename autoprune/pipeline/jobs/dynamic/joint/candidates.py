"""What a policy of widths and exits is worth: the accuracy that it has within the mean, its thresholds solved."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoprune.cost import AdditiveCost
from autoprune.cost.metrics.expected import PlannedExit
from autoprune.dynamic_networks.thresholds import Answers, Choice, PathTimes, most_accurate
from autoprune.early_exit.places import Place
from autoprune.foundations.examples import labels_in
from autoprune.models.inputs.reader import BatchReader
from autoprune.pipeline.jobs.dynamic.joint.ridge import pooled, ridge_answers
from autoprune.techniques.scoring import Scorer

__all__ = ["JointScore", "some_of", "standing_of", "widths_of"]

_KIND = "margin"


def standing_of(choices: Mapping[str, int], exits: Sequence[PlannedExit]) -> tuple[int, ...]:
    """The places at which an exit stands, by number."""
    return tuple(number for number, each in enumerate(exits) if choices[each.name] == 0)


def widths_of(choices: Mapping[str, int], exits: Sequence[PlannedExit]) -> dict[str, int]:
    """A policy without its exits."""
    names = {each.name for each in exits}
    return {name: kept for name, kept in choices.items() if name not in names}


def some_of(batches: Any, most: int) -> list[Any]:
    """The first batches, until there are so many samples."""
    found, seen = [], 0
    for batch in batches:
        found.append(batch)
        labels = labels_in(batch)
        seen += most if labels is None else len(labels)
        if seen >= most:
            break
    return found


@dataclass(frozen=True, eq=False)
class JointScore:
    """Scores policies: heads by ridge regression, thresholds exactly.

    Attributes:
        scorer: Makes the candidates of widths.
        places: At which exits may stand.
        exits: As they are planned.
        stages: What widths take between the places.
        train: Batches that heads are fitted on.
        search: Batches that count.
        reader: Which parts of a batch are the inputs.
        mean_ms: What a call may take on average.
        most: Exits that a network may have.
    """

    scorer: Scorer
    places: Sequence[Place]
    exits: Sequence[PlannedExit]
    stages: Sequence[AdditiveCost]
    train: Sequence[Any]
    search: Sequence[Any]
    reader: BatchReader
    mean_ms: float
    most: int

    def __call__(self, choices: Mapping[str, int]) -> float:
        """Accuracy within the mean of a candidate that is not trained."""
        standing = standing_of(choices, self.exits)
        widths = widths_of(choices, self.exits)
        answers = self.answers(widths, standing)
        found = [each for each in self.solved(widths, standing, answers) if each is not None]
        if found:
            return float(answers.right[-1].mean()) - min(each.loss for each in found)
        # No thresholds are fast enough: what is left is that all inputs leave at the first place.
        return float(answers.right[0].mean())

    def answers(self, widths: Mapping[str, int], standing: Sequence[int]) -> Answers:
        """Of the heads at the standing exits, and of the candidate itself, on the search batches."""
        network = self.scorer.network(widths).eval()
        places = [self.places[number] for number in standing]
        train, search = (pooled(network, places, each, self.reader) for each in (self.train, self.search))
        return ridge_answers(train, search)

    def solved(self, widths: Mapping[str, int], standing: Sequence[int], answers: Answers) -> Iterator[Choice | None]:
        """The best thresholds of every set of the standing exits that a network may have."""
        times = self.times(widths, standing)
        if times.end <= self.mean_ms:
            yield Choice((), _KIND, (), (1.0,), times.end, 0.0, 0.0)
        for size in range(1, min(self.most, len(standing)) + 1):
            for places in itertools.combinations(range(len(standing)), size):
                yield most_accurate(answers, _KIND, places, times.of(places), self.mean_ms)

    def times(self, widths: Mapping[str, int], standing: Sequence[int]) -> PathTimes:
        """What the paths take by the latency table, heads as on the dense network."""
        until = np.cumsum([stage.cost(widths) for stage in self.stages])
        whole = float(until[-1])
        leaves = tuple(float(until[number]) + self.exits[number].leaves_ms for number in standing)
        return PathTimes(whole, leaves, tuple(self.exits[number].passed_ms for number in standing))
