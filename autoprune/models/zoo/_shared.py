"""What the builders of the zoo have in common: size checks, rounding of widths, the first weights."""

from __future__ import annotations

import math

from torch import nn

from autoprune.errors import InputError

__all__ = ["checked_classifier", "scaled", "start_from_he"]


def checked_classifier(in_channels: int, classes: int, width: float) -> None:
    """Refuses sizes that no network can have.

    Raises:
        InputError: If a size is not positive or the width factor not finite.
    """
    if in_channels < 1:
        raise InputError(f"in_channels is {in_channels}; a network needs at least one input channel")
    if classes < 1:
        raise InputError(f"classes is {classes}; a network needs at least one output")
    if not (math.isfinite(width) and width > 0):
        raise InputError(f"width is {width}; it is a factor on all channels and must be above 0")


def scaled(channels: int, width: float) -> int:
    """`channels` times the width factor, rounded to the nearest integer, at least 1."""
    return max(1, round(channels * width))


def start_from_he(model: nn.Module) -> None:
    """Gives convolutions He et al.'s normal weights (ICCV 2015, fan out), linear layers a small normal.

    Draws from torch's current generator, as torch's own layers do; `autoprune.models.build(seed=...)` forks it.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
