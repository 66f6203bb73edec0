"""Single weights that are left, refilled to whole units: a dense network of as many parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from autoprune.cost.params import params_cost
from autoprune.graph import Analysis, Group
from autoprune.space import SearchSpace

__all__ = ["fullest", "refilled"]

_HALVINGS = 30


def refilled(
    analysis: Analysis, space: SearchSpace, masks: Mapping[str, Tensor], parameters: int
) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Widths, and the units that stay, of a dense network that has no more parameters than a masked one.

    A group's width goes with the root of the share of its makers' weights that is left, for a layer shrinks with the
    widths on both of its sides; one factor for all of them fills up to the number of parameters. Units with the most
    weights left stay ("refilling", Chen et al., ICML 2022, coarsens a mask in that way layer by layer).

    Args:
        analysis: Of the dense network, proven.
        space: The widths that there are.
        masks: Name of a weight -> bool: what is left.
        parameters: Of the masked network, those that are left.

    Returns:
        Decision -> units, and group -> the units that stay, ascending. The least widths where even these have more.
    """
    cost = params_cost(analysis, space)
    left = {group.name: _left(group, masks) for group in analysis.groups}
    shares = {name: math.sqrt(float(one.sum()) / total) for name, (one, total) in left.items() if total}
    low, high = 0.0, 1.0 / min([*shares.values(), 1.0])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = cost.cost(_widths(space, shares, middle)) <= parameters
        low, high = (middle, high) if fits else (low, middle)
    choices = _widths(space, shares, low)
    return choices, fullest(analysis, space, masks, choices)


def fullest(
    analysis: Analysis, space: SearchSpace, masks: Mapping[str, Tensor], choices: Mapping[str, int]
) -> dict[str, list[int]]:
    """The units with the most weights left, as many as given widths keep.

    Args:
        analysis: Of the dense network, proven.
        space: The widths that there are.
        masks: Name of a weight -> bool: what is left.
        choices: Decision -> units.

    Returns:
        Group -> the units that stay, ascending.
    """
    left = {group.name: _left(group, masks) for group in analysis.groups}
    return {name: _most(left[name][0], units) for name, units in space.units(choices).items() if name in left}


def _left(group: Group, masks: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """For every unit of a group the weights of its makers that are left, (units,), and how many these layers have."""
    counts, total = torch.zeros(group.width), 0
    for member in group.members:
        if member.makes and member.tensor in masks:
            mask = masks[member.tensor].movedim(member.dim, 0).flatten(1)
            counts += mask.sum(1).float()[member.positions].sum(1)
            total += mask.shape[1] * member.positions.numel()
    return counts, total


def _widths(space: SearchSpace, shares: Mapping[str, float], factor: float) -> dict[str, int]:
    """The largest width within its share, of every decision; groups without a mask stay whole."""
    found = {}
    for decision in space.decisions:
        most = min(1.0, factor * shares.get(decision.name, math.inf)) * decision.width
        found[decision.name] = max((each for each in decision.options if each <= most), default=decision.options[0])
    return space.complete(found)


def _most(counts: Tensor, units: int) -> list[int]:
    return sorted(counts.argsort(descending=True, stable=True)[:units].tolist())
