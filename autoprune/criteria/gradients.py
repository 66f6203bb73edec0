"""What the loss's gradients say of each weight."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.base import Criterion
from autoprune.criteria.known import Need, TensorStatistics

__all__ = ["Fisher", "Gradient", "Taylor"]


class _OfGradients(Criterion):
    """Criteria of the gradients over calibration batches; a tensor that the loss does not reach scores 0."""

    needs: ClassVar[frozenset[Need]] = frozenset({"gradients"})

    def saliency(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        """See the class."""
        return weight.new_zeros(weight.shape) if known.gradient is None else self._score(weight, known)

    def _score(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        raise NotImplementedError


class Gradient(_OfGradients):
    """Mean of |g| over batches: how much the loss changes with the weight, whatever the weight is."""

    name = "gradient"

    def _score(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        return _known(known.absolute_gradient)


class Taylor(_OfGradients):
    """Mean of |w g| over batches, the first-order change of the loss without it (Molchanov et al., ICLR 2017)."""

    name = "taylor"

    def _score(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        return weight.abs() * _known(known.absolute_gradient)


class Fisher(_OfGradients):
    """Half the mean of (w g)^2: the loss's second-order change with the empirical Fisher information of the batches as
    curvature (Theis et al., 2018, equation 11; LeCun et al., Optimal Brain Damage, 1990).
    """

    name = "fisher"

    def _score(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        return weight.square() * _known(known.squared_gradient) / 2


def _known(statistic: Tensor | None) -> Tensor:
    assert statistic is not None  # gathered together with the mean gradient
    return statistic
