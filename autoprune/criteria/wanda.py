"""Weights with what they are multiplied with."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.base import Criterion
from autoprune.criteria.known import Need, TensorStatistics

__all__ = ["Wanda"]


class Wanda(Criterion):
    """|w| times the norm of its input over the calibration data (Sun et al., ICLR 2024, equation 1).

    Weights that nothing was seen to be multiplied with score |w|.
    """

    name = "wanda"
    needs: ClassVar[frozenset[Need]] = frozenset({"inputs"})

    def saliency(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        """|w| times the L2 norm of the input."""
        return weight.abs() if known.input_norm is None else weight.abs() * known.input_norm
