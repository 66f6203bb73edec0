"""What optimiser steps must keep: zeros of a mask, a pattern, a grid of values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["Masks", "SteppingConstraint", "Together", "TrainingConstraint"]


class TrainingConstraint(Protocol):
    """Puts weights back where they must be, after every step.

    A technique makes one for a network that it has changed (`Technique.constraint`); `Trainer` calls `project` once
    before the first step and then after each. Momentum has to be projected with the weights: what it remembers of a
    weight that must stay zero would move it again in the next step.
    """

    def project(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Change the model's weights, and the optimiser's state of them, in place to the nearest that is allowed.

        Args:
            model: The network in training.
            optimizer: Its optimiser; `optimizer.state[parameter]` may be empty before the first step.
        """


class SteppingConstraint(ABC):
    """A constraint that also takes part in the step itself, and may remember something from step to step.

    `Trainer` calls `before_step` between the backward pass and the optimiser's step, keeps `state_dict` in its
    own state, and calls `average` in place of `project` for averaged weights, which no step has made.
    """

    @abstractmethod
    def before_step(self, model: nn.Module) -> None:
        """Change the gradients, and if need be the weights, that the optimiser is about to use."""

    @abstractmethod
    def project(self, model: nn.Module, optimizer: Optimizer) -> None:
        """See `TrainingConstraint.project`."""

    def average(self, model: nn.Module) -> None:  # noqa: B027 - not every constraint keeps anything of weights
        """Put averaged weights where they must be."""

    def state_dict(self) -> dict[str, Tensor]:
        """What the next step depends on beside the network's weights; default nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - not every constraint remembers
        """Take up what `state_dict` gave."""


class Masks(SteppingConstraint):
    """Weights that stay zero. Their gradients are zero, too, so that they do not count where gradients are clipped.

    Args:
        masks: Qualified name of a parameter -> bool, of its shape: true where the weight is free.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        self._masks = dict(masks)

    @torch.no_grad()
    def before_step(self, model: nn.Module) -> None:
        """Zero the gradients of the masked weights."""
        parameters = dict(model.named_parameters())
        for name, mask in self._masks.items():
            if (gradient := parameters[name].grad) is not None:
                gradient.masked_fill_(~mask.to(gradient.device), 0)

    @torch.no_grad()
    def average(self, model: nn.Module) -> None:
        """Zero the masked weights of an average."""
        parameters = dict(model.named_parameters())
        for name, mask in self._masks.items():
            parameters[name].masked_fill_(~mask.to(parameters[name].device), 0)

    @torch.no_grad()
    def project(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Zero the masked weights, and whatever the optimiser keeps of them (momentum, second moments)."""
        parameters = dict(model.named_parameters())
        for name, mask in self._masks.items():
            parameter = parameters[name]
            free = mask.to(parameter.device)
            parameter.masked_fill_(~free, 0)
            for kept in optimizer.state.get(parameter, {}).values():
                if isinstance(kept, Tensor) and kept.shape == parameter.shape:
                    kept.masked_fill_(~free, 0)


class Together:
    """Several constraints, one after the other."""

    def __init__(self, constraints: Sequence[TrainingConstraint]) -> None:
        self._constraints = tuple(constraints)

    def project(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Project by each."""
        for constraint in self._constraints:
            constraint.project(model, optimizer)
