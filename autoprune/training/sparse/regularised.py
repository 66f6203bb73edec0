"""Training that draws the weights that a mask will take towards zero, so that taking them costs less."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.optim import Optimizer

from autoprune.masks.assigned import Assigned, masks_of
from autoprune.training.constraint import SteppingConstraint

__all__ = ["STRENGTH", "PullToPattern"]

STRENGTH = 1e-3
"""What is added to the gradient of a weight that would go, against its sign."""


class PullToPattern(SteppingConstraint):
    """Adds strength * sign(w) to the gradient of every weight that its pattern would take now; none is set to zero.

    It is the gradient of an L1 penalty on those weights alone: the others are not shrunk.

    Args:
        assigned: Name of a weight -> its pattern.
        strength: See above.
    """

    def __init__(self, assigned: Mapping[str, Assigned], strength: float = STRENGTH) -> None:
        self._assigned, self.strength = dict(assigned), strength

    @torch.no_grad()
    def before_step(self, model: nn.Module) -> None:
        """Add the pull."""
        parameters = dict(model.named_parameters())
        masks = masks_of(self._assigned, {name: parameters[name].abs() for name in self._assigned})
        for name, mask in masks.items():
            parameter = parameters[name]
            if parameter.grad is not None:
                parameter.grad.add_(parameter.sign() * ~mask, alpha=self.strength)

    def project(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Nothing has to be kept."""
