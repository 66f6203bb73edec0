"""The score of a candidate: the accuracy of its raw network once BatchNorm has been re-estimated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from torch import nn

from autoprune.evaluation import Evaluate, accuracy
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.reconstruction.batch_norm import reestimate_batch_norm

__all__ = ["Networks", "Scorer"]


class Networks(Protocol):
    """Gives networks by choices (`autoprune.techniques.stack.StackCandidates`)."""

    def select(self, choices: Mapping[str, int]) -> nn.Module:
        """The network that keeps so much of every decision; it may be changed until the next is asked for."""


class Scorer:
    """Scores policies on one split; who asks remembers the answers (`autoprune.envs.ScoreMemory`).

    Args:
        networks: Makes candidates of the dense network.
        calibration: Batches that BatchNorm statistics are re-estimated on.
        search: Batches that the score is taken on.
        evaluate: The score; top-1 accuracy by default.
        reader: Which parts of a batch are the inputs.
    """

    def __init__(
        self,
        networks: Networks,
        calibration: Iterable[Any],
        search: Iterable[Any],
        evaluate: Evaluate = accuracy,
        reader: BatchReader = AS_IT_COMES,
    ) -> None:
        self._networks = networks
        self._calibration, self._search = list(calibration), list(search)
        self._evaluate, self._reader = evaluate, reader

    def __call__(self, choices: Mapping[str, int]) -> float:
        """Score of the network that keeps so much of each decision."""
        small = self._networks.select(choices)
        reestimate_batch_norm(small, self._calibration, reader=self._reader)
        return float(self._evaluate(small, self._search))
