"""What criteria may know of the data, by tensor of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

__all__ = ["Need", "Statistics", "TensorStatistics"]

Need = Literal["gradients", "inputs", "moments"]


@dataclass(frozen=True)
class TensorStatistics:
    """What one pass over the calibration data found for one tensor of weights, float64 on the CPU; None if not asked.

    Since weights do not change during the pass, the mean of |w g| is |w| times `absolute_gradient`, and the mean of
    (w g)^2 is w^2 times `squared_gradient`: Taylor and Fisher criteria need nothing else.

    Attributes:
        gradient: Mean over batches of the loss's gradient; shaped as the weight.
        absolute_gradient: Mean over batches of its absolute value; shaped as the weight.
        squared_gradient: Mean over batches of its square; shaped as the weight.
        input_norm: L2 norm over all images and positions of the input that each weight is multiplied with (padding
            aside); broadcasts to the weight's shape. What Wanda (Sun et al., ICLR 2024) calls the norm of X_j.
        input_zeros: Share of that input's elements that are exactly zero; broadcasts to the weight's shape.
        input_moments: Mean over sampled positions of x x^T, with x the unfolded input window in the order of the
            weight's elements (padding included): (groups, in / groups * kernel, in / groups * kernel). What LASSO
            selection and least squares need.
    """

    gradient: Tensor | None = None
    absolute_gradient: Tensor | None = None
    squared_gradient: Tensor | None = None
    input_norm: Tensor | None = None
    input_zeros: Tensor | None = None
    input_moments: Tensor | None = None


Statistics = Mapping[str, TensorStatistics]
"""Qualified name of a parameter -> what is known of it."""
