"""The score of a candidate: the accuracy of its raw cut once BatchNorm has been re-estimated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from autoprune.criteria.norm import kept_units
from autoprune.evaluation import Evaluate, accuracy
from autoprune.graph import Analysis, Selector
from autoprune.reconstruction.batch_norm import reestimate_batch_norm

__all__ = ["Scorer"]


class Scorer:
    """Scores policies on one split; who asks remembers the answers (`autoprune.envs.ScoreMemory`).

    Args:
        model: The dense network; left as it is.
        analysis: Its analysis.
        order: Units of every group, most important first (`criteria.ranking`).
        calibration: Batches that BatchNorm statistics are re-estimated on.
        search: Batches that the score is taken on.
        evaluate: The score; top-1 accuracy unless told otherwise.
    """

    def __init__(
        self,
        model: nn.Module,
        analysis: Analysis,
        order: Mapping[str, list[int]],
        calibration: Iterable[Any],
        search: Iterable[Any],
        evaluate: Evaluate = accuracy,
    ) -> None:
        self._selector = Selector(model, analysis)
        self._order = order
        self._calibration, self._search = list(calibration), list(search)
        self._evaluate = evaluate

    def __call__(self, units: Mapping[str, int]) -> float:
        """Score of the network that keeps so many units of each coupled group and block."""
        small = self._selector.select(kept_units(self._order, units))
        reestimate_batch_norm(small, self._calibration)
        return float(self._evaluate(small, self._search))
