"""What the layers behind a unit see of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from autoprune.criteria.base import Criterion, relative
from autoprune.criteria.effective import lines_of
from autoprune.criteria.known import Need, Statistics, TensorStatistics
from autoprune.graph import Group

__all__ = ["ActivationMeanSquare", "AverageNonZeros"]


class _OfActivations(Criterion):
    """Criteria of a unit's activations, as the layers that read it see them: behind norms and non-linearities.

    A group that no linear layer or convolution reads (its readers are other parameters) is scored by its weights: the
    sum of their absolute values, as `l1`.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"inputs"})

    def saliency(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        """|w| times the statistic of its input; |w| where the inputs were not seen."""
        seen = self._statistic(known)
        return weight.abs() if seen is None else weight.abs() * seen

    def units(self, model: nn.Module, group: Group, known: Statistics) -> Tensor:
        """The statistic of each unit, relative to its mean over units, summed over the layers that read them."""
        total = torch.zeros(group.width, dtype=torch.float64)
        tensors = dict(model.named_parameters(remove_duplicate=False))
        for member in group.members:
            seen = self._statistic(known.get(member.tensor, TensorStatistics())) if member.reads else None
            if seen is not None:
                total += relative(lines_of(seen.expand(tensors[member.tensor].shape), member).mean(dim=1))
        return total if total.any() else super().units(model, group, {})

    @abstractmethod
    def _statistic(self, known: TensorStatistics) -> Tensor | None:
        """What is scored, in a shape that broadcasts to the weight; None if it is not known."""


class ActivationMeanSquare(_OfActivations):
    """Mean square of a unit's activations over images and positions (Molchanov et al., ICLR 2017, section 2.2)."""

    name = "activation"

    def _statistic(self, known: TensorStatistics) -> Tensor | None:
        return None if known.input_norm is None else known.input_norm.square()


class AverageNonZeros(_OfActivations):
    """Share of a unit's activations that are not zero: 1 - APoZ (Hu et al., Network Trimming, 2016).

    It tells units apart behind ReLU and its like only; behind GELU or SiLU hardly an activation is exactly zero.
    """

    name = "apoz"

    def _statistic(self, known: TensorStatistics) -> Tensor | None:
        return None if known.input_zeros is None else 1 - known.input_zeros
