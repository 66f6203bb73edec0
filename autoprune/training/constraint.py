"""What optimiser steps must keep: zeros of a mask, a pattern, a grid of values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["Masks", "SteppingConstraint", "Together", "TrainingConstraint"]

_WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of an element -> integers of that size."""

_AS_WORDS = 2**22
"""Elements of the largest mask that is kept as words, which take as much memory as the weight."""


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
        self._words: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}

    @torch.no_grad()
    def before_step(self, model: nn.Module) -> None:
        """Zero the gradients of the masked weights."""
        parameters = dict(model.named_parameters())
        for name in self._masks:
            if (gradient := parameters[name].grad) is not None:
                self._zero(name, gradient)

    @torch.no_grad()
    def average(self, model: nn.Module) -> None:
        """Zero the masked weights of an average."""
        parameters = dict(model.named_parameters())
        for name in self._masks:
            self._zero(name, parameters[name])

    @torch.no_grad()
    def project(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Zero the masked weights, and whatever the optimiser keeps of them (momentum, second moments)."""
        parameters = dict(model.named_parameters())
        for name in self._masks:
            parameter = parameters[name]
            self._zero(name, parameter)
            for kept in optimizer.state.get(parameter, {}).values():
                if isinstance(kept, Tensor) and kept.shape == parameter.shape:
                    self._zero(name, kept)

    def _zero(self, name: str, tensor: Tensor) -> None:
        """Zero the masked elements of a tensor (of a parameter's shape) in place, whatever they are: NaN, too."""
        mask, word = self._masks[name], _WORDS.get(tensor.element_size())
        if word is None or mask.numel() > _AS_WORDS:
            tensor.masked_fill_(~mask.to(tensor.device), 0)
            return
        key = (name, tensor.device, word)
        if key not in self._words:  # -1 has all bits, 0 none
            self._words[key] = -mask.to(tensor.device, word)
        # `masked_fill_` goes element by element on a CPU; an AND of the bits does the same ten times as fast.
        tensor.view(word).bitwise_and_(self._words[key])


class Together:
    """Several constraints, one after the other."""

    def __init__(self, constraints: Sequence[TrainingConstraint]) -> None:
        self._constraints = tuple(constraints)

    def project(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Project by each."""
        for constraint in self._constraints:
            constraint.project(model, optimizer)
