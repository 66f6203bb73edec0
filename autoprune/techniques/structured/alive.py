"""Units that single zeros have left without any use: nothing reaches them, or nothing reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from autoprune.graph import Analysis, Group
from autoprune.graph.analysis import Member

__all__ = ["units_alive"]


def units_alive(analysis: Analysis, masks: Mapping[str, Tensor]) -> dict[str, int]:
    """How many units of every group are alive: some weight that is left makes the unit, and some reads it.

    The weights of a dead unit count as gone, too, so that what lies before and behind it may die with it. A unit that
    only its bias makes is a constant, and counts as dead.

    Args:
        analysis: Of the dense network; nothing is cut by it, so it need not be proven.
        masks: Name of a weight -> bool: what is left. Weights without a mask are whole.

    Returns:
        Name of a group -> units alive, of `Group.width`.
    """
    left = {name: mask.cpu().clone() for name, mask in masks.items()}
    kept = -1
    while kept != (kept := sum(int(mask.sum()) for mask in left.values())):
        alive = {group.name: _alive(group, left) for group in analysis.groups}
        for group in analysis.groups:
            _bury(group, ~alive[group.name], left)
    return {name: int(units.sum()) for name, units in alive.items()}


def _alive(group: Group, left: Mapping[str, Tensor]) -> Tensor:
    """Bool (units,)."""
    makers = [member for member in group.members if member.makes]
    readers = [member for member in group.members if member.reads]
    return _any_left(makers, left, group.width) & _any_left(readers, left, group.width)


def _any_left(members: Sequence[Member], left: Mapping[str, Tensor], units: int) -> Tensor:
    """Bool (units,): whether one of these has a weight for the unit; where there is none, nothing speaks against it."""
    if not members or any(member.tensor not in left for member in members):
        return torch.ones(units, dtype=torch.bool)
    return torch.stack([_rows(left[m.tensor], m.dim).any(1)[m.positions].any(1) for m in members]).any(0)


def _bury(group: Group, dead: Tensor, left: Mapping[str, Tensor]) -> None:
    """Take the weights away that make or read dead units."""
    for member in group.members:
        if (member.makes or member.reads) and member.tensor in left:
            left[member.tensor].movedim(member.dim, 0)[member.positions[dead].flatten()] = False


def _rows(mask: Tensor, dim: int) -> Tensor:
    return mask.movedim(dim, 0).flatten(1)
