"""Scores by chance: what every criterion has to beat."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn

from autoprune.criteria.base import Criterion
from autoprune.criteria.known import Statistics, TensorStatistics
from autoprune.graph import Group

__all__ = ["Random"]


class Random(Criterion):
    """Uniform numbers, the same whenever the same group or tensor shape is asked for."""

    name = "random"

    def saliency(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        """Numbers in [0, 1), by the tensor's shape."""
        return _drawn(repr(tuple(weight.shape)), tuple(weight.shape))

    def units(self, model: nn.Module, group: Group, known: Statistics) -> Tensor:
        """Numbers in [0, 1), by the group's name."""
        return _drawn(group.name, (group.width,))


def _drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.rand(shape, generator=generator, dtype=torch.float64)
