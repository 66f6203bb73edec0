"""What a layer computes with, where that is not the parameter itself, and which of it belongs to a unit."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from autoprune.graph import Group, Member

__all__ = ["effective_weight", "lines_of", "producing_weights"]


def effective_weight(model: nn.Module, name: str, weights: Tensor) -> Tensor:
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


def producing_weights(model: nn.Module, group: Group) -> Iterator[tuple[Member, Tensor]]:
    """The tensors of weights that produce a group's units, float64 on the CPU; biases follow their filters."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    for member in group.members:
        weights = tensors.get(member.tensor)
        if member.makes and weights is not None and weights.ndim > 1:
            yield member, effective_weight(model, member.tensor, weights).detach().to("cpu", torch.float64)


def lines_of(tensor: Tensor, member: Member) -> Tensor:
    """The part of a tensor that belongs to each unit, (units, elements of one); shaped as the member's tensor."""
    return tensor.movedim(member.dim, 0).flatten(1)[member.positions].flatten(1)
