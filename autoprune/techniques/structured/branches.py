"""Block decisions: residual branches of the analysis in a search space of widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from autoprune.graph import Analysis, Block
from autoprune.space import BLOCK, Decision

__all__ = ["touches_block", "with_block_decisions"]


def with_block_decisions(
    analysis: Analysis, widths: Sequence[Decision], skip: Sequence[str]
) -> tuple[list[Decision], dict[str, str]]:
    """The decisions on widths with those on blocks among them, each before the widths that it makes irrelevant.

    Args:
        analysis: Its groups and blocks.
        widths: Decisions on groups, in forward order.
        skip: Names or patterns of layers that stay; a block that holds one stays, too.

    Returns:
        All decisions in forward order, and why some branches are no decision, by name.
    """
    solid = dict(analysis.undroppable)
    blocks: list[Block] = []
    for block in analysis.blocks:
        pattern = next((p for p in skip if touches_block(block, p)), None)
        if pattern is None:
            blocks.append(block)
        else:
            solid[block.name] = f"skipped by {pattern!r}"
    chosen = {block.name for block in blocks}
    inner = [replace(d, within=_among(analysis.within(d.name), chosen)) for d in widths]
    place = {op.node: number for number, op in enumerate(analysis.ops)}
    begins = {block.name: min((place[n] for n in block.nodes if n in place), default=len(place)) for block in blocks}
    return _merged(inner, _outermost_first(blocks, begins), begins, _places(analysis)), solid


def touches_block(block: Block, pattern: str) -> bool:
    """Whether a pattern names a block or a layer in it."""
    layers = {name.rpartition(".")[0] for name in block.tensors}
    return any(fnmatchcase(name, pattern) for name in (block.name, *(s.module for s in block.swaps), *layers))


def _among(places: Sequence[Sequence[str]], chosen: set[str]) -> tuple[tuple[str, ...], ...]:
    """The same places with only the blocks that are decisions; () where one of them is left without any."""
    left = tuple(dict.fromkeys(tuple(name for name in place if name in chosen) for place in places))
    return () if () in left else left


def _outermost_first(blocks: Sequence[Block], begins: dict[str, int]) -> list[Decision]:
    names = {block.name for block in blocks}
    ordered = sorted(blocks, key=lambda block: (begins[block.name], -len(block.nodes)))
    return [Decision(b.name, 1, (0, 1), BLOCK, _among([b.outer], names)) for b in ordered]


def _places(analysis: Analysis) -> dict[str, int]:
    """Group -> number of the first operator of its first producer, never before that of an earlier group."""
    first: dict[str, int] = {}
    for number, op in enumerate(analysis.ops):
        first.setdefault(op.name, number)
    places, latest = {}, 0
    for group in analysis.groups:
        latest = max(latest, first.get(next(iter(group.producers), group.name), latest))
        places[group.name] = latest
    return places


def _merged(
    widths: Sequence[Decision], blocks: Sequence[Decision], begins: dict[str, int], places: dict[str, int]
) -> list[Decision]:
    """Both in forward order; a block comes before the first width that lies within it."""
    decisions: list[Decision] = []
    waiting = list(blocks)
    for width in widths:
        around = {name for place in width.within for name in place}
        while waiting and (
            begins[waiting[0].name] <= places[width.name] or any(block.name in around for block in waiting)
        ):
            decisions.append(waiting.pop(0))
        decisions.append(width)
    return decisions + waiting
