"""The norm of a unit's weights (Li et al., ICLR 2017, use L1)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.criteria.base import Criterion
from autoprune.criteria.known import TensorStatistics

__all__ = ["L1", "L2"]


class _Norm(Criterion):
    """The p-norm of all weights of a unit."""

    order: ClassVar[int]

    def saliency(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        """|w|, whatever the order of the norm: it ranks single weights the same."""
        return weight.abs()

    def combine(self, saliencies: Tensor) -> Tensor:
        """Norms of shape (units,)."""
        norms: Tensor = torch.linalg.vector_norm(saliencies, ord=self.order, dim=1)
        return norms


class L1(_Norm):
    """Sum of absolute weights."""

    name = "l1"
    order = 1


class L2(_Norm):
    """Euclidean norm."""

    name = "l2"
    order = 2
