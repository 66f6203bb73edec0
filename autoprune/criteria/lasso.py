"""Channels that the next layer's output needs."""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
import torch
from sklearn.linear_model import lars_path_gram
from torch import Tensor, nn

from autoprune.criteria.base import Criterion
from autoprune.criteria.effective import effective_weight
from autoprune.criteria.known import Need, Statistics, TensorStatistics
from autoprune.graph import Group, Member

__all__ = ["Lasso"]


class Lasso(Criterion):
    """The penalty at which a channel leaves a LASSO on the outputs of its readers (He et al., ICCV 2017, equation 2).

    With Z_i what channel i adds to the readers' outputs Y, beta minimises |Y - sum_i beta_i Z_i|^2 / 2 + lambda
    |beta|_1. The whole path over lambda is followed (least-angle regression), from all channels out to all in, and a
    channel's score is the largest lambda at which it is in. Each reader's outputs count relative to their norm. Only
    products of Z_i are needed, and these follow from the second moments of the readers' inputs.

    A group without a reader whose inputs' moments are known (grouped convolutions, other parameters) is scored by `l1`;
    single weights by their absolute value.
    """

    name = "lasso"
    needs: ClassVar[frozenset[Need]] = frozenset({"moments"})

    def saliency(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        """|w|."""
        return weight.abs()

    def units(self, model: nn.Module, group: Group, known: Statistics) -> Tensor:
        """Penalties relative to the largest, shape (units,)."""
        products = torch.zeros(group.width, group.width, dtype=torch.float64)
        for member in group.members:
            moments = known.get(member.tensor, TensorStatistics()).input_moments
            if member.reads and member.dim == 1 and moments is not None and len(moments) == 1:
                products += _products(_weight(model, member), moments[0], member.positions)
        if not products.any():
            return super().units(model, group, {})
        return _entry_penalties(products)


def _weight(model: nn.Module, member: Member) -> Tensor:
    own = effective_weight(model, member.tensor, model.get_parameter(member.tensor))
    return own.detach().to("cpu", torch.float64)


def _products(weight: Tensor, moments: Tensor, positions: Tensor) -> Tensor:
    """Inner products of the units' parts of a reader's output, (units, units), relative to the whole output's square.

    Args:
        weight: (out, in, kernel...).
        moments: Second moments of the unfolded inputs, (in * kernel, in * kernel).
        positions: Input channels of each unit, (units, m).
    """
    flat = weight.flatten(1)
    kernel = flat.shape[1] // weight.shape[1]
    unit = torch.full((weight.shape[1],), len(positions))  # channels of other groups are one more part, left out
    unit[positions] = torch.arange(len(positions))[:, None]
    unit = unit.repeat_interleave(kernel)
    parts = torch.zeros(len(positions) + 1, len(unit), dtype=torch.float64)
    parts.index_add_(0, unit, moments.double() * (flat.T @ flat))
    products = torch.zeros(len(positions) + 1, len(positions) + 1, dtype=torch.float64)
    products.index_add_(1, unit, parts)
    own = products[:-1, :-1]
    whole = own.sum()
    return own / whole if whole > 0 else own


def _entry_penalties(products: Tensor) -> Tensor:
    gram = products.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # collinear channels are dropped with a warning; they score 0
        penalties, _, path = lars_path_gram(gram.sum(axis=1), gram, n_samples=1, method="lasso")
    entered = np.abs(path) > 0
    scores = np.where(entered.any(axis=1), penalties[np.maximum(entered.argmax(axis=1) - 1, 0)], 0.0)
    return torch.from_numpy(scores / max(float(penalties[0]), np.finfo(float).tiny))
