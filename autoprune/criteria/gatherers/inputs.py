"""What convolutions and linear layers read, by input channel."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from autoprune.criteria.gatherers.base import Gatherer, Layer, layers_of, weight_name
from autoprune.criteria.known import TensorStatistics

__all__ = ["Inputs"]


class Inputs(Gatherer):
    """Squared norms and numbers of zeros of the inputs, by channel."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = layers_of(model)
        self._sums: dict[str, Tensor] = {}  # (2, in): squares, zeros
        self._counts: dict[str, int] = dict.fromkeys(self._layers, 0)

    def watch(self, hooks: ExitStack) -> None:
        """Look at the input of every layer."""
        for name, layer in self._layers.items():
            hook = layer.register_forward_pre_hook(lambda module, given, name=name: self._add(name, module, given[0]))
            hooks.callback(hook.remove)

    def _add(self, name: str, layer: nn.Module, given: Tensor) -> None:
        axis = given.ndim - 1 if isinstance(layer, nn.Linear) else 1
        channels = given.detach().movedim(axis, 0).flatten(1)
        sums = torch.stack([channels.double().square().sum(1), (channels == 0).sum(1).double()]).cpu()
        self._sums[name] = self._sums.get(name, 0) + sums
        self._counts[name] += channels.shape[1]

    def statistics(self, batches: int) -> dict[str, TensorStatistics]:
        """Norms and shares of zeros in the shape that broadcasts to each layer's weight."""
        found = {}
        for name, (squares, zeros) in self._sums.items():
            norms = _as_weight(self._layers[name], squares.sqrt())
            shares = _as_weight(self._layers[name], zeros / max(self._counts[name], 1))
            found[weight_name(name)] = TensorStatistics(input_norm=norms, input_zeros=shares)
        return found


def _as_weight(layer: Layer, channels: Tensor) -> Tensor:
    """(in,) as it meets a weight: (in,) of a linear layer, (out, in / groups, 1, ...) of a convolution."""
    if isinstance(layer, nn.Linear):
        return channels
    by_group = channels.reshape(layer.groups, -1).repeat_interleave(layer.out_channels // layer.groups, dim=0)
    return by_group.reshape(layer.out_channels, -1, *[1] * (layer.weight.ndim - 2))
