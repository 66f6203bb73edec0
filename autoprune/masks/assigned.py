"""Which pattern each weight of a network is to have, and the masks that come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.masks.base import Pattern
from autoprune.masks.planes import Planes
from autoprune.masks.unstructured import Unstructured, global_masks

__all__ = ["Assigned", "faults_of", "masks_of"]


@dataclass(frozen=True)
class Assigned:
    """The pattern of one weight.

    Attributes:
        planes: How the weight lies in memory.
        pattern: What it is to have.
    """

    planes: Planes
    pattern: Pattern

    def why_not(self, sizes: tuple[int, ...]) -> str | None:
        """Why a weight of these sizes cannot have the pattern; None if it can."""
        return self.pattern.why_not(self.planes.shape(sizes))

    def mask(self, saliency: Tensor) -> Tensor:
        """The mask of a weight by the saliency of its elements, shaped as it; of a weight that cannot, all of it."""
        if self.why_not(tuple(saliency.shape)) is not None:
            return saliency.new_ones(saliency.shape, dtype=torch.bool)
        return self.planes.back(self.pattern.mask(self.planes.of(saliency)), saliency)

    def fault(self, weight: Tensor) -> str | None:
        """Where a weight, or a mask, breaks the pattern; None if it keeps it, or cannot have it."""
        if self.why_not(tuple(weight.shape)) is not None:
            return None
        return self.pattern.fault(self.planes.of(weight))


def masks_of(assigned: Mapping[str, Assigned], saliencies: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks of a network's weights by their saliencies.

    Weights whose pattern is a share of all tensors together (`unstructured:0.9-global`) are compared with each other.

    Args:
        assigned: Name of a weight -> its pattern.
        saliencies: Name -> how much each element matters; shaped as the weight.

    Returns:
        Name -> bool mask, shaped as the weight.
    """
    shared: dict[Pattern, dict[str, Tensor]] = {}
    masks = {}
    for name, one in assigned.items():
        if isinstance(one.pattern, Unstructured) and one.pattern.across:
            shared.setdefault(one.pattern, {})[name] = saliencies[name]
        else:
            masks[name] = one.mask(saliencies[name])
    for pattern, members in shared.items():
        assert isinstance(pattern, Unstructured)
        masks |= global_masks(members, pattern.zeros)
    return {name: masks[name] for name in assigned}


def faults_of(assigned: Mapping[str, Assigned], weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Name of a weight -> where it breaks its pattern; empty where all keep theirs."""
    found = {name: one.fault(weights[name]) for name, one in assigned.items()}
    return {name: fault for name, fault in found.items() if fault is not None}
