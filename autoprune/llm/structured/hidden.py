"""A narrower residual stream."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from autoprune.errors import UnsupportedModelError
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.structured.base import Calibration, Outcome, Structured, kept_of
from autoprune.llm.structured.couplings import couplings, groups_of_kind
from autoprune.llm.structured.ffn import best, multiple_of
from autoprune.llm.structured.importance import importance, measure_inputs
from autoprune.llm.structured.stock import cut_uniformly, fault_of

__all__ = ["Hidden", "step_of_stream"]

_LEAST_STEPS = 3  # widths to choose from; where steps of quantised types leave fewer, finer ones are taken


def step_of_stream(config: Any, width: int) -> int:
    """In what steps the residual stream is cut: such as quantised types want, that the model's class takes, too.

    Stock Llama wants a multiple of the number of heads, for example.

    Args:
        config: Of the dense model.
        width: Of its residual stream.
    """
    for step in dict.fromkeys((multiple_of(width), 8, 1)):
        taken = [each for each in range(step, width, step) if width % step == 0 and _takes(config, each)]
        if len(taken) >= _LEAST_STEPS:
            return taken[0]
    return multiple_of(width)


def _takes(config: Any, width: int) -> bool:
    narrower = copy.deepcopy(config)
    narrower.hidden_size = width
    return fault_of(narrower) is None


class Hidden(Structured):
    """Removes the channels of the residual stream that matter least to all layers that read it.

    The norms see the channels that are left, so the model is another one from the first token on: that costs more than
    other ways to remove as many parameters, and is made good by training only.
    """

    name: ClassVar[str] = "hidden"
    counts: ClassVar[str] = "channels"

    def prune(self, model: LanguageModel, ratio: float, calibration: Calibration) -> Outcome:
        """A model with a smaller `hidden_size`; the size of a head stays."""
        analysis = couplings(model.network)
        groups = groups_of_kind(analysis, "embedding", "channels of the residual stream")
        if len(groups) > 1:
            raise UnsupportedModelError(f"this model has {len(groups)} residual streams: {[g.name for g in groups]}")
        width = groups[0].width
        kept = kept_of(width, ratio, self.counts, step_of_stream(model.config, width))
        squares = measure_inputs(model.network, groups, calibration)
        units = {groups[0].name: best(importance(model.network, groups[0], squares), kept)}
        small = cut_uniformly(model.network, analysis, units)
        return Outcome(model.with_network(small), 1 - kept / width, {"channels": [width, kept]})
