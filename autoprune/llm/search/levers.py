"""What a search may change in a language model: numbers of its config with the units that go first, and zeros."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from autoprune.graph import Analysis, Group, index_map
from autoprune.llm.blocks.stack import DecoderStack
from autoprune.llm.search.budget import NM
from autoprune.llm.search.zeros import Slices, Zeros
from autoprune.llm.structured.by_block import BlockUnits, cut_by_block
from autoprune.llm.structured.ffn import best
from autoprune.llm.structured.query_heads import HeadShape, cut_queries, query_positions
from autoprune.llm.structured.stack import renumbered, without_blocks
from autoprune.llm.structured.stock import cut_uniformly
from autoprune.space import SearchSpace

__all__ = ["BLOCKS", "FFN", "HEADS", "HIDDEN", "QUERIES", "Levers", "Queries", "part_of"]

BLOCKS, FFN, HEADS, QUERIES, HIDDEN = "blocks", "ffn", "heads", "queries", "hidden"
"""Decisions: decoder blocks, neurons of each feed-forward part, heads of keys and values, query heads on each of them,
channels of the residual stream. Each is one number for the whole model, so that a stock config says it; but `ffn.3` and
`heads.3` are of the fourth block alone."""


def part_of(name: str) -> str:
    """What a decision is of, whichever block.

    >>> part_of("ffn.3"), part_of("hidden")
    ('ffn', 'hidden')
    """
    return name.partition(".")[0]


@dataclass(frozen=True, eq=False)
class Queries:
    """Query heads that stay.

    Attributes:
        shape: Of the heads when whole groups are gone.
        kept: Coupling -> query heads that stay on each, int64 (groups that stay, kept), ascending within each row.
    """

    shape: HeadShape
    kept: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Levers:
    """What can be changed, and what goes first.

    Attributes:
        network: The dense network.
        stack: Its blocks.
        analysis: Its couplings.
        groups: Decision -> its couplings, one a block, or one in all.
        shape: Of the heads; None where these cannot be pruned.
        scores: Coupling -> importance of its units, float64 (units,); of heads (groups, query heads on each).
        order: Blocks, the one that goes first in front.
        space: The decisions with their options; `frozen` says why others are not there.
        at_least: Decision -> the config of the model where it alone is at its least, proven.
        zeros: Of the blocks' linear layers; None where these are no decision.
    """

    network: nn.Module
    stack: DecoderStack
    analysis: Analysis
    groups: Mapping[str, list[Group]]
    shape: HeadShape | None
    scores: Mapping[str, Tensor]
    order: tuple[int, ...]
    space: SearchSpace = field(default_factory=lambda: SearchSpace(()))
    at_least: Mapping[str, Any] = field(default_factory=dict)
    zeros: Zeros | None = None

    def gone(self, kept: int) -> list[int]:
        """The blocks that go where so many stay, ascending."""
        return sorted(self.order[: len(self.stack) - kept])

    def cut(self, choices: Mapping[str, int]) -> nn.Module:
        """The network with these numbers, of its stock class; proven equal to the dense one without the units.

        Zeros come last, into the network that was proven.

        Args:
            choices: Decision -> what stays; decisions that are not named are whole.

        Raises:
            InputError: If no config of the class can say it.
        """
        small, units = self.network, self.units(choices)
        small = cut_uniformly(small, self.analysis, units) if units else small
        queries = self.queries(choices, units)
        if queries is not None:
            small = cut_queries(small, self.groups[HEADS], queries.shape, queries.kept)
        gone = self.gone(choices.get(BLOCKS, len(self.stack)))
        small = without_blocks(small, gone) if gone else small
        own = self.by_block(choices)
        small = cut_by_block(small, own) if own.kept else small
        if self.zeros is None or not self.zeros.some(choices):
            return small
        small = copy.deepcopy(small) if small is self.network else small
        small.load_state_dict(self.with_zeros(small.state_dict(), choices))
        return small

    def with_zeros(self, state: Mapping[str, Tensor], choices: Mapping[str, int]) -> Mapping[str, Tensor]:
        """What a network with these numbers saves, with the zeros of its blocks."""
        if self.zeros is None:
            return state
        gone = self.gone(choices.get(BLOCKS, len(self.stack)))
        left = {name: kept for name, kept in choices.items() if name not in {f"{NM}.{block}" for block in gone}}
        return self.zeros.taken(state, left, self.slices(choices), renumbered(self.stack, gone))

    def slices(self, choices: Mapping[str, int]) -> Slices:
        """Of every tensor of the dense network that gets smaller, the positions that stay."""
        slices = self.uniform_slices(choices)
        for name, each in index_map(self.analysis, self.by_block(choices).kept).items():
            slices.setdefault(name, {}).update(each)
        return slices

    def uniform_slices(self, choices: Mapping[str, int]) -> dict[str, dict[int, Tensor]]:
        """The same of what is one number for all blocks."""
        units = self.units(choices)
        slices = {name: dict(each) for name, each in index_map(self.analysis, units).items()}
        queries = self.queries(choices, units)
        if queries is not None:
            for member, rows in query_positions(self.groups[HEADS], queries.shape, queries.kept):
                own = slices.setdefault(member.tensor, {})
                own[member.dim] = own[member.dim][rows] if member.dim in own else rows
        return slices

    def units(self, choices: Mapping[str, int]) -> dict[str, list[int]]:
        """Coupling -> its units that stay, ascending, of what is one number for all blocks; whole ones are left out."""
        return {
            group.name: best(self.scores[group.name].reshape(group.width, -1).sum(1), choices[name])
            for name, groups in self.groups.items()
            for group in groups
            if part_of(name) == name and choices.get(name, group.width) < group.width
        }

    def by_block(self, choices: Mapping[str, int]) -> BlockUnits:
        """The units that stay where each block has its own number, of blocks that stay."""
        gone = self.gone(choices.get(BLOCKS, len(self.stack)))
        kept = {
            group.name: best(self.scores[group.name].reshape(group.width, -1).sum(1), choices[name])
            for name, (group, *_) in self.groups.items()
            if part_of(name) != name and int(name.partition(".")[2]) not in gone
            if choices.get(name, group.width) < group.width
        }
        return BlockUnits(self.analysis, kept, renumbered(self.stack, gone))

    def queries(self, choices: Mapping[str, int], units: Mapping[str, list[int]]) -> Queries | None:
        """The query heads that stay on the keys and values that stay; None where all do."""
        count = choices.get(QUERIES)
        if self.shape is None or count is None or count >= self.shape.queries:
            return None
        left = HeadShape(choices.get(HEADS, self.shape.groups), self.shape.queries, self.shape.size)
        kept: dict[str, Tensor] = {}
        for group in self.groups[HEADS]:
            scores = self.scores[group.name]
            scores = scores[units[group.name]] if group.name in units else scores
            kept[group.name] = scores.topk(count, dim=1).indices.sort(dim=1).values
        return Queries(left, kept)
