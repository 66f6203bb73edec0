"""Fewer neurons in every feed-forward part, as many in each."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from autoprune.llm.models.base import LanguageModel
from autoprune.llm.structured.base import Calibration, Outcome, Structured, kept_of
from autoprune.llm.structured.couplings import couplings, groups_of_kind
from autoprune.llm.structured.importance import importance, measure_inputs
from autoprune.llm.structured.stock import cut_uniformly

__all__ = ["FeedForward", "best", "multiple_of"]


class FeedForward(Structured):
    """Removes the neurons that matter least to the layer that reads them, block by block equally many."""

    name: ClassVar[str] = "ffn"
    counts: ClassVar[str] = "neurons"

    def prune(self, model: LanguageModel, ratio: float, calibration: Calibration) -> Outcome:
        """A model with a smaller `intermediate_size`."""
        analysis = couplings(model.network)
        groups = groups_of_kind(analysis, "ffn", "feed-forward neurons")
        width = groups[0].width
        kept = kept_of(width, ratio, self.counts, multiple_of(width))
        squares = measure_inputs(model.network, groups, calibration)
        units = {group.name: best(importance(model.network, group, squares), kept) for group in groups}
        small = cut_uniformly(model.network, analysis, units)
        return Outcome(model.with_network(small), 1 - kept / width, {"neurons": [width, kept]})


def best(scores: Tensor, kept: int) -> list[int]:
    """The places of the largest scores, ascending; of equal ones the first."""
    order = scores.argsort(descending=True, stable=True)[:kept]
    return sorted(int(place) for place in order)


def multiple_of(width: int) -> int:
    """In what steps a width is cut: 32, a block of quantised types, where the width is large and made of them.

    >>> multiple_of(1536), multiple_of(96), multiple_of(100)
    (32, 8, 1)
    """
    return next((step for step in (32, 8) if width % step == 0 and width >= 8 * step), 1)
