"""What a layer computes with, where that is not the parameter itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["effective_weight"]


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
