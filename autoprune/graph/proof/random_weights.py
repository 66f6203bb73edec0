"""Random weights, statistics and inputs for the copy of a network that a proof experiments on."""

from __future__ import annotations

import math

import torch
from torch import nn

from autoprune.models.inputs.example import Example

__all__ = ["random_like", "randomise"]


def random_like(sized: Example, generator: torch.Generator) -> Example:
    """An input like ``sized``; what is no floating-point number stays."""

    def drawn(tensor: torch.Tensor) -> torch.Tensor:
        if not (tensor.is_floating_point() or tensor.is_complex()):
            return tensor
        kind = torch.complex64 if tensor.is_complex() else torch.float32
        return torch.randn(tensor.shape, generator=generator, dtype=kind).to(tensor.device, tensor.dtype)

    return sized.map(drawn)


def randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Random weights that keep the size of activations, and random statistics: every f(0) is different from 0."""
    variances = {f"{name}.running_var".lstrip(".") for name, m in model.named_modules() if hasattr(m, "running_var")}
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            leaf = name.rpartition(".")[2]
            is_buffer = not isinstance(tensor, nn.Parameter)
            inexact = tensor.is_floating_point() or tensor.is_complex()
            if not inexact or (is_buffer and not leaf.startswith("running_")):
                continue
            tensor.copy_(_drawn(tensor, leaf, name in variances, generator))


def _drawn(tensor: torch.Tensor, leaf: str, is_variance: bool, generator: torch.Generator) -> torch.Tensor:
    """Random numbers for a parameter, of single precision: copies of them take half the memory of doubles."""
    if is_variance or (tensor.dim() < 2 and "bias" not in leaf and "mean" not in leaf):
        return torch.rand(tensor.shape, generator=generator) + 0.5
    kind = torch.complex64 if tensor.is_complex() else torch.float32
    normal = torch.randn(tensor.shape, generator=generator, dtype=kind)
    return normal.mul_(0.3 if tensor.dim() < 2 else math.sqrt(2.0 / max(1, tensor[0].numel())))
