"""The contract of a one-shot method: which weights of one matrix go, and what becomes of the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.llm.sparsity.statistics import Needs, Read
from autoprune.masks.base import Pattern
from autoprune.masks.unstructured import Unstructured, zeros_of

__all__ = ["OneShot", "Pruned", "masked", "row_mask"]


@dataclass(frozen=True, eq=False)
class Pruned:
    """A matrix after a method.

    Attributes:
        weight: (outputs, inputs), zero where the mask is false.
        mask: bool (outputs, inputs).
        note: What is to be said of it, such as another method in place of this one; None if nothing.
    """

    weight: Tensor
    mask: Tensor
    note: str | None = None


class OneShot(ABC):
    """A method that prunes one matrix by what its layer reads on the calibration text.

    Attributes:
        name: What users call it.
        needs: What it must know of the layer's inputs.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs]

    @abstractmethod
    def prune(self, weight: Tensor, pattern: Pattern, read: Read | None) -> Pruned:
        """Prune a matrix.

        Args:
            weight: (outputs, inputs), float32.
            pattern: What may stay; the matrix can have it.
            read: What the layer reads; None for a method that needs nothing, or a layer that was never called.
        """


def masked(weight: Tensor, saliency: Tensor, pattern: Pattern, *, by_row: bool) -> Pruned:
    """A matrix whose least salient weights are zero, the others as they were.

    Args:
        weight: (outputs, inputs).
        saliency: Of the same shape, not negative.
        pattern: What may stay.
        by_row: Whether a share is of each output row, and not of the matrix.
    """
    if by_row and isinstance(pattern, Unstructured):
        mask = row_mask(saliency, pattern.zeros)
    else:
        mask = pattern.mask(saliency[None])[0]
    return Pruned(weight * mask, mask)


def row_mask(saliency: Tensor, zeros: float) -> Tensor:
    """The mask, bool (outputs, inputs), under which each row loses its share of least salient weights, counted exactly.

    Of equal ones the first stays.
    """
    width = saliency.shape[1]
    order = saliency.argsort(dim=1, descending=True, stable=True)[:, : width - zeros_of(width, zeros)]
    return torch.zeros_like(saliency, dtype=torch.bool).scatter_(1, order, True)
