"""The contract of a criterion: how much each weight, or each unit, matters.

The life of a criterion in a run: it says with `needs` what has to be known of the data; that is gathered for all
criteria in one pass over the calibration images (`autoprune.criteria.statistics`); then `units` is asked once for every
coupled group of the dense network, and the answers become a `Ranking`. A technique that removes single weights asks
`saliency` itself.

A criterion of a line is a file of ten: `saliency` alone, and the units follow.

    class Magnitude(Criterion):
        name = "magnitude"

        def saliency(self, weight, known):
            return weight.abs()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from autoprune.criteria.effective import lines_of, producing_weights
from autoprune.criteria.known import Need, Statistics, TensorStatistics
from autoprune.graph import Group

__all__ = ["Criterion", "relative"]


class Criterion(ABC):
    """How much weights and units matter; one instance serves a whole run.

    Attributes:
        name: What `--criterion` calls it.
        needs: What it has to know of the data: `gradients`, `inputs`; empty where the weights are enough.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()

    @abstractmethod
    def saliency(self, weight: Tensor, known: TensorStatistics) -> Tensor:
        """How much each weight of one tensor matters.

        Args:
            weight: What a layer computes with, float64 on the CPU: (out, in) of a linear layer, (out, in / groups,
                kernel) of a convolution.
            known: Of this tensor, what `needs` asks for, on the CPU.

        Returns:
            Non-negative, shaped as `weight`; larger is more important.
        """

    def combine(self, saliencies: Tensor) -> Tensor:
        """One score for every unit from the saliencies of its weights, (units, weights of one) to (units,)."""
        return saliencies.sum(dim=1)

    def units(self, model: nn.Module, group: Group, known: Statistics) -> Tensor:
        """How much each unit of a coupled group matters.

        For every tensor of weights that produces the group: the combined saliency of a unit's weights, divided by the
        tensor's mean over units, so that no layer of a residual stage outweighs the others; summed over the tensors.

        Args:
            model: The dense network.
            group: A group of its analysis.
            known: What `needs` asks for, by tensor.

        Returns:
            Non-negative scores of shape (units,), float64; larger is more important.
        """
        total = torch.zeros(group.width, dtype=torch.float64)
        for member, own in producing_weights(model, group):
            saliency = self.saliency(own, known.get(member.tensor, TensorStatistics()))
            total += relative(self.combine(lines_of(saliency, member)))
        return total


def relative(scores: Tensor) -> Tensor:
    """Scores of shape (units,) relative to their mean, so that layers count the same; all zeros stay."""
    mean = scores.mean()
    return scores / mean if mean > 0 else scores
