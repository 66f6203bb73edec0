"""Fewer query heads on every group of keys and values: what a coupling of whole groups does not say.

In grouped-query attention r query heads share one head of keys and values, and the couplings tie all of them to it.
They are alike: as many can leave each group, and `num_attention_heads` says so.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph import Group, Member
from autoprune.llm.structured.stock import name_head_size, require_equal, silenced, stock_from

__all__ = ["HeadShape", "cut_queries", "head_shape", "query_positions"]


@dataclass(frozen=True)
class HeadShape:
    """How the heads of all blocks are shaped.

    Attributes:
        groups: Heads of keys and values.
        queries: Query heads on each of them.
        size: Width of a head.
    """

    groups: int
    queries: int
    size: int

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.groups * self.queries


def head_shape(network: nn.Module, groups: list[Group]) -> HeadShape:
    """The heads' shape, by their couplings and by what the modules say of the size of a head.

    Raises:
        UnsupportedModelError: If the blocks differ, or no size is said where keys and values are shared.
    """
    widest = {max(m.positions.shape[1] for m in group.members) for group in groups}
    least = {
        min(m.positions.shape[1] for m in group.members if m.makes and m.tensor.endswith("weight")) for group in groups
    }
    if len(widest) > 1 or len(least) > 1:
        raise UnsupportedModelError("the blocks differ in the shape of their heads")
    size, whole = int(least.pop()), int(widest.pop())
    fused = any(_several(group) for group in groups)  # queries, keys and values of a head in one tensor
    if fused or whole % size:
        return HeadShape(groups[0].width, 1, whole)
    return HeadShape(groups[0].width, whole // size, size)


def _several(group: Group) -> bool:
    """Whether a tensor is cut at two dimensions, or a layer makes more than one thing of a head."""
    return sum(m.makes and m.tensor.endswith("weight") for m in group.members) < 3


def cut_queries(network: nn.Module, groups: list[Group], shape: HeadShape, kept: Mapping[str, Tensor]) -> nn.Module:
    """The stock class with fewer query heads on every group of keys and values.

    Args:
        network: A model whose heads have this shape.
        groups: Their couplings, one a block; of the model before whole groups were cut, or of this one.
        shape: The heads'.
        kept: Name of a coupling -> query heads that stay, int64 (groups, kept), ascending within each row.

    Raises:
        UnsupportedModelError: If queries lie in one tensor with something else.
        InputError: If the stock class cannot have these heads.
    """
    model: Any = network
    state, silent = dict(model.state_dict()), dict(model.state_dict())
    each = next(iter(kept.values())).shape[1]
    for member, rows in query_positions(groups, shape, kept):
        tensor = state[member.tensor]
        if tensor.shape[member.dim] != shape.heads * shape.size:
            raise UnsupportedModelError(f"{member.tensor} holds more than query heads")
        state[member.tensor] = tensor.index_select(member.dim, rows.to(tensor.device))
        if member.reads:
            silent[member.tensor] = silenced(tensor, member.dim, rows)
    config = copy.deepcopy(model.config)
    name_head_size(network, config)
    config.num_attention_heads = shape.groups * each
    small = stock_from(network, config, state)
    require_equal(stock_from(network, model.config, silent), small)
    return small


def query_positions(
    groups: list[Group], shape: HeadShape, kept: Mapping[str, Tensor]
) -> Iterator[tuple[Member, Tensor]]:
    """Where query heads lie, and the positions there of those that stay, int64 (positions,).

    Args:
        groups: Couplings of heads, one a block.
        shape: The heads'.
        kept: Name of a coupling -> query heads that stay, int64 (groups, kept), ascending within each row.
    """
    for group in groups:
        flat = (kept[group.name] + torch.arange(shape.groups)[:, None] * shape.queries).flatten()
        rows = (flat[:, None] * shape.size + torch.arange(shape.size)).flatten()
        yield from ((m, rows) for m in group.members if m.positions.shape[1] == shape.queries * shape.size)
