"""Which numbers of a language model's config a search may change, and in which order units go, read off the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.graph import Analysis, Group
from autoprune.llm.blocks.stack import DecoderStack
from autoprune.llm.search.budget import BY_BLOCK, DECISIONS, NM, ZerosPlan
from autoprune.llm.search.levers import BLOCKS, FFN, HEADS, HIDDEN, QUERIES, Levers, part_of
from autoprune.llm.search.zeros import read_zeros
from autoprune.llm.structured.base import Calibration
from autoprune.llm.structured.couplings import block_of, couplings, groups_of_kind
from autoprune.llm.structured.depth import choose_blocks
from autoprune.llm.structured.ffn import multiple_of
from autoprune.llm.structured.hidden import step_of_stream
from autoprune.llm.structured.importance import InputSquares, importance, measure_inputs
from autoprune.llm.structured.query_heads import HeadShape, head_shape
from autoprune.llm.structured.stack import counted_stack
from autoprune.space import Decision, SearchSpace

__all__ = ["order_tokens", "read_levers"]

_KINDS = {FFN: "ffn", HEADS: "heads", HIDDEN: "embedding"}
_NOUNS = {FFN: "feed-forward neurons", HEADS: "heads", HIDDEN: "channels of the residual stream"}
_LEAST = {BLOCKS: 0.5, FFN: 0.25, HIDDEN: 0.5}  # share of the units that stays at least
_OPTIONS = 32  # of a width whose steps are free
_ORDER_WINDOWS = 2  # windows on which the order of blocks is decided: one block after the other, half of them


def read_levers(
    network: nn.Module,
    calibration: Calibration,
    decided: Callable[[str, Callable[[], Any]], Any],
    only: Collection[str] = DECISIONS,
    zeros: ZerosPlan | None = None,
    row_multiple: int = 1,
) -> Levers:
    """What can be changed in a model, each tried once at its least.

    Args:
        network: The dense network.
        calibration: The text that says what matters.
        decided: `RunDir.once`: the order of blocks takes long, and is kept.
        only: Decisions that may be there.
        zeros: What `nm` may do, where it is among them; the default if None.
        row_multiple: Numbers that a target computes rows of matrices by (`LanguageTimer.row_multiple`).

    Raises:
        UnsupportedModelError: If the model has no stack of blocks, or cannot be traced.
        InputError: If nothing can be changed.
    """
    stack, analysis = counted_stack(network), couplings(network)
    groups, frozen = _groups(analysis)
    squares = measure_inputs(network, [g for each in groups.values() for g in each], calibration)
    shape = _head_shape(network, groups, frozen)
    for part in (part for name, part in BY_BLOCK.items() if name in only and part in groups):
        groups |= {f"{part}.{block_of(stack, group)}": [group] for group in groups.pop(part)}
        if part == HEADS:
            frozen[QUERIES] = "it is one number for all blocks, and heads are one for each"
    scores = _scores(network, groups, squares, shape)
    text = Calibration(calibration.windows[:_ORDER_WINDOWS], calibration.progress)
    order = decided("block order", lambda: _order(network, stack, text)) if BLOCKS in only else ()
    levers = Levers(network, stack, analysis, groups, shape, scores, tuple(order))
    if NM in only:
        found = read_zeros(stack, calibration.windows, zeros or ZerosPlan(), calibration.progress)
        levers = replace(levers, zeros=found)
    names = {BY_BLOCK.get(name, name) for name in only}
    frozen |= {name: "it is not among --decisions" for name in DECISIONS if name not in names}
    configs: dict[str, Any] = {}
    offered = [_in_whole_rows(d, levers.shape, row_multiple) for d in _decisions(levers) if part_of(d.name) in names]
    decisions = [decision for decision in offered if _can(levers, decision, frozen, configs)]
    if not decisions:
        raise InputError(f"nothing in this model can be changed: {'; '.join(frozen.values())}")
    return replace(levers, space=SearchSpace(tuple(decisions), frozen), at_least=configs)


def _scores(
    network: nn.Module, groups: Mapping[str, list[Group]], squares: InputSquares, shape: HeadShape | None
) -> dict[str, Tensor]:
    """Coupling -> importance of its units, (units,); of heads (groups, query heads on each)."""
    scores: dict[str, Tensor] = {}
    for name, each in groups.items():
        heads = part_of(name) == HEADS
        parts = shape.queries if heads and shape is not None else 1
        for group in each:
            found = importance(network, group, squares, parts)
            scores[group.name] = found.reshape(group.width, -1) if heads else found
    return scores


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


def order_tokens(stack: DecoderStack, windows: Tensor) -> tuple[int, Tensor]:
    """How many blocks have to be put in order, and on which windows: what takes long of `read_levers`."""
    return len(stack) - _least(BLOCKS, len(stack)), windows[:_ORDER_WINDOWS]


def _order(network: nn.Module, stack: DecoderStack, text: Calibration) -> list[int]:
    count = len(stack) - _least(BLOCKS, len(stack))
    return [int(step["block"]) for step in choose_blocks(network, stack, count, text)]


def _decisions(levers: Levers) -> list[Decision]:
    """Every decision that has more than one option, in a fixed order."""
    blocks = len(levers.stack)
    found = [Decision(BLOCKS, blocks, tuple(range(_least(BLOCKS, blocks), blocks + 1)), "blocks")]
    for name in levers.groups:
        part = part_of(name)
        if part in (FFN, HIDDEN):
            width = levers.groups[name][0].width
            step = step_of_stream(levers.network.config, width) if part == HIDDEN else multiple_of(width)
            found.append(Decision(name, width, _widths(width, _least(part, width), step), _KINDS[part]))
    if levers.shape is not None:
        counts = {name: levers.shape.groups for name in levers.groups if part_of(name) == HEADS}
        if HEADS in counts:
            counts[QUERIES] = levers.shape.queries
        found += [Decision(name, count, tuple(range(1, count + 1)), "heads") for name, count in counts.items()]
    if levers.zeros is not None:
        plan = levers.zeros.plan
        found += [Decision(f"{NM}.{block}", plan.m, plan.kept, NM) for block in range(blocks)]
    return [decision for decision in found if len(decision.options) > 1]


def _in_whole_rows(decision: Decision, shape: HeadShape | None, multiple: int) -> Decision:
    """The decision with options whose matrices have rows of a multiple; as it is where only the whole width has.

    Rows are as long as the stream, the neurons, or all query heads together; of heads each decision is seen alone.
    """
    sizes = {FFN: 1, HIDDEN: 1}
    if shape is not None:
        sizes |= {HEADS: shape.queries * shape.size, QUERIES: shape.groups * shape.size}
    size = sizes.get(part_of(decision.name))
    if size is None or multiple == 1:
        return decision
    options = tuple(o for o in decision.options if o * size % multiple == 0 or o == decision.width)
    return replace(decision, options=options) if len(options) > 1 else decision


def _least(name: str, width: int) -> int:
    return max(1, -int(-width * _LEAST[name] // 1))


def _widths(width: int, least: int, step: int) -> tuple[int, ...]:
    """Widths in steps, at most so many where the step is free.

    >>> _widths(96, 24, 8)[:3], len(_widths(1536, 384, 32)), _widths(100, 90, 1)
    ((24, 32, 40), 37, (91, 94, 97, 100))
    """
    step = step if step > 1 else max(1, width // _OPTIONS)
    return tuple(range(width, least - 1, -step))[::-1]


def _can(levers: Levers, decision: Decision, frozen: dict[str, str], configs: dict[str, Any]) -> bool:
    """Whether a decision can be carried out at its least, whose config is noted; if not, the reason is.

    What is alike in all blocks is tried in one.
    """
    alike = [config for name, config in configs.items() if part_of(name) == part_of(decision.name)]
    if alike:
        configs[decision.name] = alike[0]
        return True
    try:
        small: Any = levers.cut({decision.name: decision.options[0]})
    except InputError as error:
        frozen[decision.name] = shortened(str(error), 200)
        return False
    configs[decision.name] = small.config
    return True
