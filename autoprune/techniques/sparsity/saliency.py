"""How much every single weight matters, by the criteria that rank units elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.criteria.base import Criterion
from autoprune.criteria.known import Statistics, TensorStatistics
from autoprune.errors import InputError
from autoprune.masks.assigned import Assigned
from autoprune.masks.base import Pattern
from autoprune.techniques.sparsity.tensors import Weight

__all__ = ["RankedWeights", "Saliencies", "pattern_mask", "saliencies_of"]

Saliencies = Mapping[str, Tensor]
"""Name of a parameter -> how much each of its weights matters, float64 on the CPU, shaped as the parameter."""


@dataclass(frozen=True, eq=False)
class RankedWeights:
    """What is known of the weights that can have zeros.

    Attributes:
        weights: By name, as the dense network has them.
        saliencies: How much each of their elements matters; narrower than the dense ones where widths were cut.
    """

    weights: Mapping[str, Weight]
    saliencies: Saliencies

    def mask(self, name: str, pattern: Pattern) -> Tensor | None:
        """The mask of a weight; None where it stays whole."""
        return pattern_mask(self.weights[name], self.saliencies[name], pattern)


def pattern_mask(weight: Weight, saliency: Tensor, pattern: Pattern) -> Tensor | None:
    """The mask that a pattern gives a weight, shaped as it; None where all of it stays.

    Args:
        weight: Which one.
        saliency: Of its elements; shaped as it, narrower than the dense one where widths were cut.
        pattern: What is wanted.
    """
    mask = Assigned(weight.planes, pattern).mask(saliency)
    return None if bool(mask.all()) else mask


def saliencies_of(model: nn.Module, names: Iterable[str], criterion: Criterion, known: Statistics) -> Saliencies:
    """The saliency of some weights of a model, which stays as it is.

    Args:
        model: With the weights that are judged.
        names: Of its parameters.
        criterion: What judges them.
        known: What the criterion needs to know of the data, by tensor (`autoprune.criteria.statistics.gathered`).

    Raises:
        InputError: If a saliency is not a number: a weight is not, or the calibration images are not.
    """
    parameters = dict(model.named_parameters())
    found = {}
    for name in names:
        weight = parameters[name].detach().to("cpu", torch.float64)
        saliency = criterion.saliency(weight, known.get(name, TensorStatistics())).expand(weight.shape)
        if not bool(torch.isfinite(saliency).all()):
            raise InputError(f"{name}: the criterion {criterion.name} is not finite; check the weights and the images")
        found[name] = saliency
    return found
