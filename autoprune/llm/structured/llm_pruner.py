"""LLM-Pruner: feed-forward neurons and whole groups of heads that the loss misses least, the same share of both.

Deviation: the authors leave the first four and the last two blocks as they are, which no stock config can say. Here
every block loses the same number, each by the order within it.
"""

from __future__ import annotations

from typing import ClassVar

from autoprune.errors import InputError
from autoprune.graph import Analysis, Group
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.structured.base import Calibration, Outcome, Structured, kept_of
from autoprune.llm.structured.couplings import couplings, groups_of_kind
from autoprune.llm.structured.ffn import best, multiple_of
from autoprune.llm.structured.stock import cut_uniformly
from autoprune.llm.structured.taylor import Order, slopes, taylor_importance

__all__ = ["LlmPruner"]


class LlmPruner(Structured):
    """Removes coupled structures by first-order or mixed Taylor importance.

    Args:
        order: Which.
    """

    name: ClassVar[str] = "llm-pruner"
    counts: ClassVar[str] = "neurons and groups of heads"

    def __init__(self, order: Order = "mixed") -> None:
        self.order: Order = order

    def prune(self, model: LanguageModel, ratio: float, calibration: Calibration) -> Outcome:
        """A model with a smaller `intermediate_size`, and fewer heads where the share takes a whole group of them."""
        analysis = couplings(model.network)
        neurons = groups_of_kind(analysis, "ffn", "feed-forward neurons")
        width = neurons[0].width
        kept = kept_of(width, ratio, "neurons", multiple_of(width))
        heads = _heads(analysis)
        stay = max(1, round(heads[0].width * (1 - ratio))) if heads else 0
        cut = [(group, kept) for group in neurons]
        cut += [(group, stay) for group in heads if stay < group.width]
        found = slopes(model.network, [group for group, _ in cut], calibration)
        units = {g.name: best(taylor_importance(model.network, g, found, self.order), count) for g, count in cut}
        small = cut_uniformly(model.network, analysis, units)
        removed: dict[str, object] = {"neurons": [width, kept], "order": self.order}
        if heads:
            removed["key_value_heads"] = [heads[0].width, stay]
        return Outcome(model.with_network(small), 1 - kept / width, removed)


def _heads(analysis: Analysis) -> list[Group]:
    """The groups of heads; none where heads cannot be pruned, or differ from block to block."""
    try:
        return groups_of_kind(analysis, "heads", "heads")
    except InputError:  # which an unsupported model is, too
        return []
