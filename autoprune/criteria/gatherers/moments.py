"""Second moments of what convolutions and linear layers read, by window."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from autoprune.criteria.gatherers.base import Gatherer, layers_of, weight_name
from autoprune.criteria.known import TensorStatistics
from autoprune.models.windows import drawn_positions, input_rows

__all__ = ["Moments"]

ROWS = 2000
"""Windows of a layer that are looked at in one batch, drawn at random; a batch of 128 images has 6,272 of 7x7."""


class Moments(Gatherer):
    """Sums of x x^T over windows x that are drawn anew for every batch, with a generator of its own."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = layers_of(model)
        self._sums: dict[str, Tensor] = {}
        self._rows: dict[str, int] = dict.fromkeys(self._layers, 0)
        self._chosen = drawn_positions(ROWS, torch.Generator().manual_seed(0))

    def watch(self, hooks: ExitStack) -> None:
        """Look at the input of every layer."""
        for name, layer in self._layers.items():
            hook = layer.register_forward_pre_hook(lambda _, given, name=name: self._add(name, given[0].detach()))
            hooks.callback(hook.remove)

    def _add(self, name: str, given: Tensor) -> None:
        rows = input_rows(self._layers[name], given, self._chosen).to("cpu", torch.float64)
        self._sums[name] = self._sums.get(name, 0) + torch.einsum("rgi,rgj->gij", rows, rows)
        self._rows[name] += len(rows)

    def statistics(self, batches: int) -> dict[str, TensorStatistics]:
        """Means of x x^T."""
        return {
            weight_name(name): TensorStatistics(input_moments=total / max(self._rows[name], 1))
            for name, total in self._sums.items()
        }
