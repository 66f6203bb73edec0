"""Which units of a coupled group matter: criteria that rank them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name
from autoprune.graph import Analysis, Group

__all__ = ["CRITERIA", "importance", "kept_units", "ranking"]

CRITERIA: Mapping[str, int] = {"l1": 1, "l2": 2}
"""Criterion -> order p of the norm (Li et al., ICLR 2017, use 1)."""


def importance(model: nn.Module, group: Group, criterion: str = "l1") -> Tensor:
    """Importance of each unit of one group.

    For every tensor of weights that produces the group, a unit's p-norm over all of its weights, divided by the
    tensor's mean over units so that no layer of a residual stage outweighs the others; summed over the tensors.

    Args:
        model: The dense network.
        group: A group of its analysis.
        criterion: `l1` or `l2`.

    Returns:
        Non-negative scores of shape (units,), float64; larger is more important.

    Raises:
        InputError: If the criterion is unknown.
    """
    if criterion not in CRITERIA:
        raise InputError(f"unknown criterion {criterion!r}; {nearest_name(criterion, CRITERIA)}")
    tensors = dict(model.named_parameters(remove_duplicate=False))
    total = torch.zeros(group.width, dtype=torch.float64)
    for member in group.members:
        weights = tensors.get(member.tensor)
        if not member.makes or weights is None or weights.ndim < 2:  # biases follow their filters
            continue
        own = _computed_with(model, member.tensor, weights).detach()
        total += _per_unit(own, member.dim, member.positions, CRITERIA[criterion])
    return total


def _computed_with(model: nn.Module, name: str, weights: Tensor) -> Tensor:
    """What a layer computes with: where weights are normed (`weight_norm`) the parameter is but their direction."""
    if ".parametrizations." in f".{name}":
        owner, _, rest = f".{name}".rpartition(".parametrizations.")
        computed: Tensor = getattr(model.get_submodule(owner.lstrip(".")), rest.split(".")[0])
        return computed if computed.shape == weights.shape else weights
    owner, _, leaf = name.rpartition(".")
    length = getattr(model.get_submodule(owner), f"{leaf.removesuffix('_v')}_g", None) if leaf.endswith("_v") else None
    if not isinstance(length, Tensor) or length.ndim != weights.ndim:
        return weights
    over = [axis for axis, size in enumerate(length.shape) if size == 1]
    scaled: Tensor = weights * (length / torch.linalg.vector_norm(weights, dim=over, keepdim=True).clamp_min(1e-12))
    return scaled


def _per_unit(weights: Tensor, dim: int, positions: Tensor, order: int) -> Tensor:
    """Norms of shape (units,): over all weights at a unit's positions along `dim`, relative to their mean."""
    lines = weights.to("cpu", torch.float64).movedim(dim, 0).flatten(1)
    norms: Tensor = torch.linalg.vector_norm(lines[positions].flatten(1), ord=order, dim=1)
    mean = norms.mean()
    return norms / mean if mean > 0 else norms


def ranking(model: nn.Module, analysis: Analysis, criterion: str = "l1") -> dict[str, list[int]]:
    """Units of every group, most important first, equal scores in the order of their indices; a block's one unit."""
    order: dict[str, list[int]] = {
        group.name: torch.argsort(importance(model, group, criterion), descending=True, stable=True).tolist()
        for group in analysis.groups
    }
    return order | {block.name: [0] for block in analysis.blocks}


def kept_units(order: Mapping[str, list[int]], choices: Mapping[str, int]) -> dict[str, list[int]]:
    """Indices of the units that a policy keeps, ascending: the most important ones of each decision.

    >>> kept_units({"conv1": [3, 0, 2, 1]}, {"conv1": 2})
    {'conv1': [0, 3]}
    """
    return {name: sorted(order[name][:units]) for name, units in choices.items()}
