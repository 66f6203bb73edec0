"""SR-STE: sparse training from scratch, in which every step decides anew which weights are masked.

Zhou et al., Learning N:M fine-grained structured sparse neural networks from scratch, ICLR 2021, equations 6 and 9. The
forward pass multiplies with the masked weights W' = mask(W) * W, the mask being that of the largest |W|. The backward
pass hands the gradient on to all weights, masked ones too (straight-through), and draws the masked ones to zero, so
that masks settle:

    gradient of W = gradient of W' + decay * (1 - mask) * W
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autoprune.errors import InputError
from autoprune.masks.assigned import Assigned, masks_of
from autoprune.training.constraint import SteppingConstraint

__all__ = ["DECAY", "StraightThrough"]

DECAY = 2e-4
"""The paper's factor of the pull on masked weights."""


class StraightThrough(SteppingConstraint):
    """Keeps all weights beside the network, which only ever holds the masked ones.

    Before a step the network is given all weights, and the gradients the pull; after it, the masked weights again. So
    the network's weights have their pattern after every step, and whoever saves or scores it meets the sparse network.

    Args:
        model: The network, with all its weights.
        assigned: Name of a weight -> its pattern.
        decay: Factor of the pull on masked weights; 0 is the plain straight-through estimator.
    """

    def __init__(self, model: nn.Module, assigned: Mapping[str, Assigned], decay: float = DECAY) -> None:
        self._assigned, self.decay = dict(assigned), decay
        self._dense = {name: tensor.detach().clone() for name, tensor in self._weights(model).items()}
        self.masks: dict[str, Tensor] = {}
        self._stepping = True  # the network has all weights now, as in a step

    @torch.no_grad()
    def before_step(self, model: nn.Module) -> None:
        """Add the pull to the gradients, and give the network all weights: the optimiser is to change these."""
        for name, parameter in self._weights(model).items():
            dense, masked = self._dense[name], ~self.masks[name]
            if parameter.grad is not None:
                parameter.grad.add_(dense * masked, alpha=self.decay)
            parameter.copy_(dense)
        self._stepping = True

    @torch.no_grad()
    def project(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Keep what the step has made of all weights, choose the masks, and leave the network with the masked weights.

        The optimiser's state is of all weights, and stays as it is.
        """
        weights = self._weights(model)
        if self._stepping:
            self._dense = {name: parameter.detach().clone() for name, parameter in weights.items()}
            self.masks = masks_of(self._assigned, {name: dense.abs() for name, dense in self._dense.items()})
            self._stepping = False
        self._write_masked(weights)

    @torch.no_grad()
    def average(self, model: nn.Module) -> None:
        """Choose the masks of averaged weights by their size; of these nothing is kept."""
        weights = self._weights(model)
        masks = masks_of(self._assigned, {name: parameter.abs() for name, parameter in weights.items()})
        for name, parameter in weights.items():
            parameter.masked_fill_(~masks[name], 0)

    def state_dict(self) -> dict[str, Tensor]:
        """All weights, by name."""
        return dict(self._dense)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with these weights.

        Raises:
            InputError: If they are of another network.
        """
        if state.keys() != self._dense.keys() or any(state[n].shape != t.shape for n, t in self._dense.items()):
            raise InputError("the weights of the unfinished sparse training are those of another network")
        self._dense = {name: state[name].to(own).clone() for name, own in self._dense.items()}
        self.masks = masks_of(self._assigned, {name: dense.abs() for name, dense in self._dense.items()})
        self._stepping = False

    def _write_masked(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in weights.items():
            parameter.copy_(self._dense[name] * self.masks[name])

    def _weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        parameters = dict(model.named_parameters())
        return {name: parameters[name] for name in self._assigned}
