"""The loss's gradients by weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from autoprune.criteria.gatherers.base import Gatherer
from autoprune.criteria.known import TensorStatistics

__all__ = ["Gradients"]


class Gradients(Gatherer):
    """Sums over batches of gradients, their absolute values and their squares; parameters' own `grad` is not used."""

    def __init__(self, model: nn.Module) -> None:
        weights = {n: p for n, p in model.named_parameters() if p.ndim > 1 and p.is_floating_point()}
        self._weights = {name: weight for name, weight in weights.items() if weight.requires_grad}
        self._sums = {name: torch.zeros(3, *w.shape, dtype=torch.float64) for name, w in self._weights.items()}

    def add(self, loss: Callable[[], Tensor]) -> None:
        """Add the gradients of a batch."""
        found = torch.autograd.grad(loss(), list(self._weights.values()), allow_unused=True)
        for name, gradient in zip(self._weights, found, strict=True):
            if gradient is not None:
                own = gradient.to("cpu", torch.float64)
                self._sums[name] += torch.stack([own, own.abs(), own.square()])

    def statistics(self, batches: int) -> dict[str, TensorStatistics]:
        """Mean gradient, mean absolute and mean squared gradient."""
        return {name: TensorStatistics(*(total / batches)) for name, total in self._sums.items()}
