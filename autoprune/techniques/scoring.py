"""The score of a candidate: the accuracy of its network with the weights that candidates are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from torch import nn

from autoprune.evaluation import Evaluate, accuracy
from autoprune.reconstruction.candidate_weights import CandidateWeights, Slices
from autoprune.run.score import Estimate
from autoprune.techniques.homes.base import Home, Scored, ScoreJob

__all__ = ["Networks", "Scorer", "ScoresAt", "WholeScore"]


class Networks(Protocol):
    """Gives networks by choices (`autoprune.techniques.stack.StackCandidates`)."""

    def select(self, choices: Mapping[str, int]) -> nn.Module:
        """The network that keeps so much of every decision; it may be changed until the next is asked for."""

    def slices(self, choices: Mapping[str, int]) -> Slices:
        """Where its tensors come from in the dense ones."""


class Scorer:
    """Scores policies on one split; who asks remembers the answers (`autoprune.envs.ScoreMemory`).

    Args:
        networks: Makes candidates of the dense network.
        weights: What candidates are given before they are scored.
        search: Batches that the score is taken on.
        evaluate: The score; top-1 accuracy by default.
    """

    def __init__(
        self,
        networks: Networks,
        weights: CandidateWeights,
        search: Iterable[Any],
        evaluate: Evaluate = accuracy,
    ) -> None:
        self._networks, self._weights = networks, weights
        self._search = list(search)
        self._evaluate = evaluate

    def __call__(self, choices: Mapping[str, int]) -> float:
        """Score of the network that keeps so much of each decision."""
        return float(self._evaluate(self.network(choices), self._search))

    def network(self, choices: Mapping[str, int]) -> nn.Module:
        """That network with the weights that it is scored with; valid until the next is asked for."""
        small = self._networks.select(choices)
        self._weights.prepare(small, self._networks.slices(choices))
        return small


class WholeScore:
    """What a home runs where every score is taken on all images.

    Args:
        scorer: Scores a policy.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __call__(self, job: ScoreJob) -> Scored:
        """Score of a candidate; there is no rival."""
        return Scored(Estimate(self._scorer(job.choices)))


class ScoresAt:
    """Scores policies on all images, in a home.

    Args:
        home: Where candidates are scored, by `WholeScore`.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def __call__(self, choices: Mapping[str, int]) -> float:
        """Score of a policy."""
        return self._home.score(ScoreJob(choices)).estimate.value

    def begin(self, policies: Sequence[Mapping[str, int]], rival: Mapping[str, int] | None) -> None:
        """Policies that will be asked for; a rival is of no effect."""
        self._home.begin([ScoreJob(choices) for choices in policies])
