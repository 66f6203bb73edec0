"""LLM-Pruner: feed-forward neurons and whole groups of heads that the loss misses least, the same share of both.

The authors leave the first four and the last two blocks as they are, which no stock config can say: then the model is
written by layer. Without protected blocks every block loses the same number, each by the order within it, and the stock
class loads what comes out.
"""

from __future__ import annotations

from typing import ClassVar

from autoprune.errors import InputError
from autoprune.graph import Analysis, Group
from autoprune.llm.blocks.stack import decoder_stack
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.structured.base import Calibration, Outcome, Structured, kept_of
from autoprune.llm.structured.couplings import couplings, groups_of_kind
from autoprune.llm.structured.ffn import best, multiple_of
from autoprune.llm.structured.protected import Protected
from autoprune.llm.structured.stock import cut_by_layer, cut_uniformly
from autoprune.llm.structured.taylor import Order, slopes, taylor_importance

__all__ = ["LlmPruner"]


class LlmPruner(Structured):
    """Removes coupled structures by first-order or mixed Taylor importance.

    Args:
        order: Which.
        protect: Blocks at the beginning and at the end that stay whole.
    """

    name: ClassVar[str] = "llm-pruner"
    counts: ClassVar[str] = "neurons and groups of heads"

    def __init__(self, order: Order = "mixed", protect: Protected | None = None) -> None:
        self.order: Order = order
        self.protect = Protected() if protect is None else protect

    def prune(self, model: LanguageModel, ratio: float, calibration: Calibration) -> Outcome:
        """A model with fewer neurons, and fewer heads where the share takes a whole group of them.

        The ratio is of what is not protected.
        """
        analysis = couplings(model.network)
        every = groups_of_kind(analysis, "ffn", "feed-forward neurons")
        stack = decoder_stack(model.network)
        neurons, heads = self.protect.left(stack, every), self.protect.left(stack, _heads(analysis))
        width = every[0].width
        kept = kept_of(width, ratio, "neurons", multiple_of(width))
        stay = max(1, round(heads[0].width * (1 - ratio))) if heads else 0
        cut = [(group, kept) for group in neurons]
        cut += [(group, stay) for group in heads if stay < group.width]
        found = slopes(model.network, [group for group, _ in cut], calibration)
        units = {g.name: best(taylor_importance(model.network, g, found, self.order), count) for g, count in cut}
        small = (cut_by_layer if self.protect else cut_uniformly)(model.network, analysis, units)
        removed: dict[str, object] = {"neurons": [width, kept], "order": self.order}
        if heads:
            removed["key_value_heads"] = [heads[0].width, stay]
        if self.protect:
            removed["protected_blocks"] = self.protect.blocks(stack)
        share = (1 - kept / width) * len(neurons) / len(every)
        return Outcome(model.with_network(small), share, removed)


def _heads(analysis: Analysis) -> list[Group]:
    """The groups of heads; none where heads cannot be pruned, or differ from block to block."""
    try:
        return groups_of_kind(analysis, "heads", "heads")
    except InputError:  # which an unsupported model is, too
        return []
