"""The score of a candidate: the accuracy of its network with the weights that candidates are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from torch import nn

from autoprune.evaluation import Evaluate, accuracy
from autoprune.reconstruction.candidate_weights import CandidateWeights, Slices

__all__ = ["Networks", "Scorer"]


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
