"""The scale that BatchNorm gives a unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.criteria.base import Criterion, relative
from autoprune.criteria.known import Statistics, TensorStatistics
from autoprune.graph import Group

__all__ = ["BatchNormScale"]


class BatchNormScale(Criterion):
    """|gamma| of the BatchNorms on a unit (Network Slimming; Liu et al., ICCV 2017).

    It means most after a training that pulls the scales to zero. A group without BatchNorm is scored by `l1`; a single
    weight by its absolute value.
    """

    name = "bn_scale"

    def saliency(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        """|w|."""
        return weight.abs()

    def units(self, model: nn.Module, group: Group, known: Statistics) -> Tensor:
        """|gamma| relative to its mean over units, summed over the group's BatchNorms."""
        total = torch.zeros(group.width, dtype=torch.float64)
        for member in group.members:
            norm = model.get_submodule(member.module)
            if isinstance(norm, _BatchNorm) and member.tensor.rpartition(".")[2] == "weight":
                scales = norm.weight.detach().to("cpu", torch.float64).abs()
                total += relative(scales[member.positions].flatten(1).sum(dim=1))
        return total if total.any() else super().units(model, group, known)
