"""What a search may change in a language model: five numbers of its config, each with the units that go first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.graph import Analysis, Group
from autoprune.llm.blocks.stack import DecoderStack
from autoprune.llm.structured.base import Calibration
from autoprune.llm.structured.couplings import couplings, groups_of_kind
from autoprune.llm.structured.depth import choose_blocks
from autoprune.llm.structured.ffn import best, multiple_of
from autoprune.llm.structured.heads import Choice, with_heads
from autoprune.llm.structured.importance import importance, measure_inputs
from autoprune.llm.structured.query_heads import HeadShape, head_shape
from autoprune.llm.structured.stack import counted_stack, without_blocks
from autoprune.llm.structured.stock import cut_uniformly
from autoprune.space import Decision, SearchSpace

__all__ = ["BLOCKS", "FFN", "HEADS", "HIDDEN", "QUERIES", "Levers", "read_levers"]

BLOCKS, FFN, HEADS, QUERIES, HIDDEN = "blocks", "ffn", "heads", "queries", "hidden"
"""Decisions: decoder blocks, neurons of each feed-forward part, heads of keys and values, query heads on each of them,
channels of the residual stream. Each is one number for the whole model, so that a stock config says it."""

_KINDS = {FFN: "ffn", HEADS: "heads", HIDDEN: "embedding"}
_NOUNS = {FFN: "feed-forward neurons", HEADS: "heads", HIDDEN: "channels of the residual stream"}
_LEAST = {BLOCKS: 0.5, FFN: 0.25, HIDDEN: 0.5}  # share of the units that stays at least
_OPTIONS = 32  # of a width whose steps are free
_ORDER_WINDOWS = 2  # windows on which the order of blocks is decided: one block after the other, half of them


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
    """

    network: nn.Module
    stack: DecoderStack
    analysis: Analysis
    groups: Mapping[str, list[Group]]
    shape: HeadShape | None
    scores: Mapping[str, Tensor]
    order: tuple[int, ...]
    space: SearchSpace = field(default_factory=lambda: SearchSpace(()))

    def gone(self, kept: int) -> list[int]:
        """The blocks that go where so many stay, ascending."""
        return sorted(self.order[: len(self.stack) - kept])

    def cut(self, choices: Mapping[str, int]) -> nn.Module:
        """The network with these numbers, of its stock class; proven equal to the dense one without the units.

        Args:
            choices: Decision -> what stays; decisions that are not named are whole.

        Raises:
            InputError: If no config of the class can say it.
        """
        small, analysis = self.network, self.analysis
        heads, queries = choices.get(HEADS), choices.get(QUERIES)
        units: dict[str, list[int]] = {}
        for name in (FFN, HIDDEN, HEADS):
            for group in self.groups.get(name, ()):
                score = self.scores[group.name].sum(1) if name == HEADS else self.scores[group.name]
                if choices.get(name, group.width) < group.width:
                    units[group.name] = best(score, choices[name])
        small = cut_uniformly(small, analysis, units) if units else small
        if self.shape is not None and queries is not None and queries < self.shape.queries:
            left = HeadShape(heads or self.shape.groups, self.shape.queries, self.shape.size)
            scores = {g.name: self._left(g, units) for g in self.groups[HEADS]}
            choice = Choice(left.groups, queries)
            small = with_heads(small, analysis, self.groups[HEADS], left, scores, choice)
        gone = self.gone(choices.get(BLOCKS, len(self.stack)))
        return without_blocks(small, gone) if gone else small

    def _left(self, group: Group, units: Mapping[str, list[int]]) -> Tensor:
        """The scores of the query heads whose keys and values stay, (groups that stay, query heads on each)."""
        scores = self.scores[group.name]
        return scores[units[group.name]] if group.name in units else scores


def read_levers(
    network: nn.Module, calibration: Calibration, decided: Callable[[str, Callable[[], Any]], Any]
) -> Levers:
    """What can be changed in a model, each tried once at its least.

    Args:
        network: The dense network.
        calibration: The text that says what matters.
        decided: `RunDir.once`: the order of blocks takes long, and is kept.

    Raises:
        UnsupportedModelError: If the model has no stack of blocks, or cannot be traced.
        InputError: If nothing can be changed.
    """
    stack, analysis = counted_stack(network), couplings(network)
    groups, frozen = _groups(analysis)
    squares = measure_inputs(network, [g for each in groups.values() for g in each], calibration)
    shape = _head_shape(network, groups, frozen)
    scores: dict[str, Tensor] = {}
    for name, each in groups.items():
        parts = shape.queries if name == HEADS and shape is not None else 1
        for group in each:
            found = importance(network, group, squares, parts)
            scores[group.name] = found.reshape(group.width, -1) if name == HEADS else found
    text = Calibration(calibration.windows[:_ORDER_WINDOWS], calibration.progress)
    order = decided("block order", lambda: _order(network, stack, text))
    levers = Levers(network, stack, analysis, groups, shape, scores, tuple(order))
    decisions = [decision for decision in _decisions(levers) if _can(levers, decision, frozen)]
    if not decisions:
        raise InputError(f"nothing in this model can be changed: {'; '.join(frozen.values())}")
    return Levers(network, stack, analysis, groups, shape, scores, tuple(order), SearchSpace(tuple(decisions), frozen))


def _groups(analysis: Analysis) -> tuple[dict[str, list[Group]], dict[str, str]]:
    """Decision -> couplings; and of what cannot be changed, why."""
    found: dict[str, list[Group]] = {}
    frozen: dict[str, str] = {}
    for name, kind in _KINDS.items():
        try:
            found[name] = groups_of_kind(analysis, kind, _NOUNS[name])
        except InputError as error:  # which an unsupported model is, too
            frozen[name] = str(error)
    return found, frozen


def _head_shape(network: nn.Module, groups: dict[str, list[Group]], frozen: dict[str, str]) -> HeadShape | None:
    """How heads are shared out; where blocks differ in it, heads are no decision, and the reason is noted."""
    if HEADS not in groups:
        return None
    try:
        return head_shape(network, groups[HEADS])
    except InputError as error:
        frozen[HEADS] = frozen[QUERIES] = shortened(str(error), 200)
        del groups[HEADS]
        return None


def _order(network: nn.Module, stack: DecoderStack, text: Calibration) -> list[int]:
    count = len(stack) - _least(BLOCKS, len(stack))
    return [int(step["block"]) for step in choose_blocks(network, stack, count, text)]


def _decisions(levers: Levers) -> list[Decision]:
    """Every decision that has more than one option, in a fixed order."""
    blocks = len(levers.stack)
    found = [Decision(BLOCKS, blocks, tuple(range(_least(BLOCKS, blocks), blocks + 1)), "blocks")]
    for name in (FFN, HIDDEN):
        if name in levers.groups:
            width = levers.groups[name][0].width
            found.append(Decision(name, width, _widths(width, _least(name, width)), _KINDS[name]))
    if levers.shape is not None:
        found.append(Decision(HEADS, levers.shape.groups, tuple(range(1, levers.shape.groups + 1)), "heads"))
        found.append(Decision(QUERIES, levers.shape.queries, tuple(range(1, levers.shape.queries + 1)), "heads"))
    return [decision for decision in found if len(decision.options) > 1]


def _least(name: str, width: int) -> int:
    return max(1, -int(-width * _LEAST[name] // 1))


def _widths(width: int, least: int) -> tuple[int, ...]:
    """Widths in the steps that quantised types want, at most so many.

    >>> _widths(96, 24)[:3], len(_widths(1536, 384)), _widths(100, 90)
    ((24, 32, 40), 37, (91, 94, 97, 100))
    """
    step = multiple_of(width)
    step = step if step > 1 else max(1, width // _OPTIONS)
    return tuple(range(width, least - 1, -step))[::-1]


def _can(levers: Levers, decision: Decision, frozen: dict[str, str]) -> bool:
    """Whether a decision can be carried out at its least; if not, the reason is noted."""
    try:
        levers.cut({decision.name: decision.options[0]})
    except InputError as error:
        frozen[decision.name] = shortened(str(error), 200)
        return False
    return True
