"""An exponential moving average of a network's weights, which its training ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """a_t = d_t * a_(t-1) + (1 - d_t) * w_t after optimiser step t, with d_t = min(decay, (1 + t) / (10 + t)).

    The rising d_t forgets where the training started: a constant one would keep much of the cut's weights through a
    short fine-tuning. BatchNorm's running statistics are averaged with the weights that they belong to.

    Args:
        model: Its weights are the first average.
        decay: The largest d, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = {name: tensor.clone() for name, tensor in _floats(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, tensor in _floats(model).items():
            self.values[name].lerp_(tensor.to(self.values[name].dtype), 1 - decay)  # exact where both are equal

    @torch.no_grad()
    def write_to(self, model: nn.Module) -> None:
        """Give a model the average; its counters (of BatchNorm's batches) stay."""
        for name, tensor in model.state_dict().items():
            if name in self.values:
                tensor.copy_(self.values[name])

    def restart(self, model: nn.Module, updates: int) -> None:
        """Go on from the weights of a network as an average of so many steps."""
        self.updates = updates
        self.values = {name: tensor.clone() for name, tensor in _floats(model).items()}

    def state_dict(self) -> dict[str, Any]:
        """The average as tensors and a number."""
        return {"updates": self.updates, "values": dict(self.values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a stored average.

        Raises:
            KeyError: If it is of another model.
            ValueError: If it has other shapes.
        """
        values: Mapping[str, Tensor] = state["values"]
        if values.keys() != self.values.keys():
            raise KeyError("the average is of other weights")
        for name, tensor in self.values.items():
            if tensor.shape != values[name].shape:
                raise ValueError(f"the average of {name} is {tuple(values[name].shape)}, not {tuple(tensor.shape)}")
            tensor.copy_(values[name])
        self.updates = int(state["updates"])


def _floats(model: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers of floating-point numbers, by name."""
    state = model.state_dict()
    return {name: tensor.detach() for name, tensor in state.items() if tensor.is_floating_point()}
