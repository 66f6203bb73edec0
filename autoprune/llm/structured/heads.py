"""Fewer attention heads in every block: whole groups of keys and values, query heads within them, or both."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from autoprune.graph import Analysis, Group
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.structured.base import Calibration, Outcome, Structured, kept_of
from autoprune.llm.structured.couplings import couplings, groups_of_kind
from autoprune.llm.structured.ffn import best
from autoprune.llm.structured.importance import importance, measure_inputs
from autoprune.llm.structured.judge import mean_loss
from autoprune.llm.structured.query_heads import HeadShape, cut_queries, head_shape
from autoprune.llm.structured.stock import cut_uniformly

__all__ = ["Choice", "Heads", "choices", "with_heads"]


class Choice(NamedTuple):
    """How many heads stay: groups of keys and values, and query heads on each."""

    groups: int
    queries: int


class Heads(Structured):
    """Removes the heads whose outputs matter least to the layer that reads them, block by block equally many.

    Where several shapes have the number of heads that is wanted (9 query heads on 3 groups become 6 as 2 groups of 3 or
    as 3 groups of 2), each is made and the calibration text decides.
    """

    name: ClassVar[str] = "heads"
    counts: ClassVar[str] = "query heads"

    def prune(self, model: LanguageModel, ratio: float, calibration: Calibration) -> Outcome:
        """A model with a smaller `num_attention_heads`; the size of a head stays."""
        analysis = couplings(model.network)
        groups = groups_of_kind(analysis, "heads", "heads")
        shape = head_shape(model.network, groups)
        kept = kept_of(shape.heads, ratio, self.counts)
        squares = measure_inputs(model.network, groups, calibration)
        scores = {
            g.name: importance(model.network, g, squares, shape.queries).reshape(shape.groups, -1) for g in groups
        }
        made, tried = {}, choices(shape, kept)
        for choice in tried:
            network = with_heads(model.network, analysis, groups, shape, scores, choice)
            made[mean_loss(network, calibration.windows) if len(tried) > 1 else 0.0] = choice, network
        loss = min(made)
        choice, network = made[loss]
        removed = {
            "query_heads": [shape.heads, choice.groups * choice.queries],
            "key_value_heads": [shape.groups, choice.groups],
            "tried": [{"key_value_heads": c.groups, "query_heads_each": c.queries} for c in tried],
        }
        left = 1 - choice.groups * choice.queries / shape.heads
        return Outcome(model.with_network(network), left, removed)


def choices(shape: HeadShape, kept: int) -> list[Choice]:
    """The shapes that come nearest to a number of heads, fewer than there are.

    >>> choices(HeadShape(3, 3, 64), 6)
    [Choice(groups=2, queries=3), Choice(groups=3, queries=2)]
    """
    every = [Choice(g, q) for g in range(1, shape.groups + 1) for q in range(1, shape.queries + 1)]
    smaller = [choice for choice in every if choice.groups * choice.queries < shape.heads]
    off = min(abs(choice.groups * choice.queries - kept) for choice in smaller)
    return [choice for choice in smaller if abs(choice.groups * choice.queries - kept) == off]


def with_heads(
    network: nn.Module,
    analysis: Analysis,
    groups: list[Group],
    shape: HeadShape,
    scores: dict[str, Tensor],
    choice: Choice,
) -> nn.Module:
    """The stock class with so many heads, the best ones of each block.

    Args:
        network: The dense model.
        analysis: Its couplings.
        groups: Those of its heads.
        shape: The heads'.
        scores: Coupling -> importance of every query head, (groups of keys and values, query heads on each).
        choice: How many stay.
    """
    units = {g.name: best(scores[g.name].sum(1), choice.groups) for g in groups}
    small = network if choice.groups == shape.groups else cut_uniformly(network, analysis, units)
    if choice.queries == shape.queries:
        return small
    left = HeadShape(choice.groups, shape.queries, shape.size)
    best_queries = {
        g.name: scores[g.name][units[g.name]].topk(choice.queries, dim=1).indices.sort(dim=1).values for g in groups
    }
    return cut_queries(small, groups, left, best_queries)
