"""What can be pruned in an analysed model: widths of coupled groups, and residual branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name
from autoprune.graph import Analysis, Group
from autoprune.space import BLOCK, Decision, SpaceConstraints
from autoprune.space.kinds import kind_of
from autoprune.techniques.base import Offer, OptionGrid
from autoprune.techniques.structured.branches import touches_block, with_block_decisions
from autoprune.techniques.structured.ties import capped, tie_up

__all__ = ["offered"]


def offered(analysis: Analysis, limits: SpaceConstraints, grid: OptionGrid) -> Offer:
    """One decision for every coupled group of units, and if wanted for every block.

    Raises:
        InputError: If a kind is unknown, or a pattern matches nothing, or nothing that can be tied.
    """
    chosen, caps = limits.chosen, limits.caps
    refused = dict(analysis.frozen)
    decisions = []
    for group in analysis.groups:
        pattern = next((p for p in limits.skip if _touches(group, p)), None)
        if pattern is not None:
            refused[group.name] = f"skipped by {pattern!r}"
            continue
        if group.kind not in chosen:
            refused[group.name] = f"its units are {group.kind}, which is none of the kinds chosen"
            continue
        widths = _widths(group, grid, limits.granularities)
        decisions.append(Decision(group.name, group.width, widths, group.kind))
    if BLOCK in chosen:
        decisions, solid = with_block_decisions(analysis, decisions, limits.skip)
        refused |= solid
    _check_skips(analysis, limits.skip)

    def touches(decision: str, pattern: str) -> bool:
        return decision not in blocks and _touches(analysis.group(decision), pattern)

    blocks = {block.name for block in analysis.blocks}
    decisions, ties = tie_up(capped(decisions, caps, touches), limits.tie, touches)
    return Offer(tuple(decisions), refused, ties)


def _widths(group: Group, grid: OptionGrid, by_kind: Mapping[str, int]) -> tuple[int, ...]:
    """The options of a group: on the grid, or in the multiples that the user named for its kind."""
    positions, named = _channels_of_a_unit(group), by_kind.get(group.kind)
    if named is None:
        widths = grid.options(group.width, positions)
    else:
        widths = grid.options(group.width, positions if kind_of(group.kind).in_channels else 1, named)
    return tuple(width for width in widths if width >= group.least)


def _check_skips(analysis: Analysis, skip: Sequence[str]) -> None:
    """A pattern that names nothing is mistyped; one that names only what stays anyway asks for what will be."""
    names = {name for group in analysis.groups for name in (group.name, *group.producers)}
    names |= {block.name for block in analysis.blocks}
    for pattern in skip:
        known = any(fnmatchcase(name, pattern) for name in names | analysis.frozen.keys())
        if not known and not any(touches_block(block, pattern) for block in analysis.blocks):
            hint = nearest_name(pattern, sorted(names))
            raise InputError(
                f"--skip {pattern}: no prunable layer has such a name; {hint} (autoprune inspect lists them)"
            )


def _channels_of_a_unit(group: Group) -> int:
    """Channels that the group's first producer gives for one unit: several where a grouped convolution reads them."""
    return next((int(m.positions.shape[1]) for m in group.members if m.makes), 1)


def _touches(group: Group, pattern: str) -> bool:
    return any(fnmatchcase(layer, pattern) for layer in (group.name, *group.producers))
