"""How large a model is."""

from __future__ import annotations

from torch import nn

__all__ = ["parameter_count", "zero_count"]


def parameter_count(model: nn.Module) -> int:
    """Number of parameters; a shared one counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def zero_count(model: nn.Module) -> int:
    """Parameters that are exactly zero; a shared one counts once."""
    return sum(int((parameter == 0).sum()) for parameter in model.parameters())
