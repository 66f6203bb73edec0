"""Filters that others can stand in for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.criteria.base import Criterion, relative
from autoprune.criteria.effective import lines_of, producing_weights
from autoprune.criteria.known import Statistics, TensorStatistics
from autoprune.graph import Group

__all__ = ["GeometricMedian"]


class GeometricMedian(Criterion):
    """Sum of a filter's distances to all others of its layer (FPGM; He et al., CVPR 2019, equation 6).

    Small where the filter lies near the geometric median of all: others represent it. Single weights score |w|.
    """

    name = "fpgm"

    def saliency(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        """|w|."""
        return weight.abs()

    def units(self, model: nn.Module, group: Group, known: Statistics) -> Tensor:
        """Sums of Euclidean distances relative to their mean over units, summed over the tensors that produce them."""
        total = torch.zeros(group.width, dtype=torch.float64)
        for member, own in producing_weights(model, group):
            filters = lines_of(own, member)
            total += relative(torch.cdist(filters, filters).sum(dim=1))
        return total
