"""Magnitude: the smallest weights of each matrix go."""

from __future__ import annotations

from torch import Tensor

from autoprune.llm.sparsity.base import OneShot, Pruned, masked
from autoprune.llm.sparsity.statistics import Read
from autoprune.masks.base import Pattern

__all__ = ["Magnitude"]


class Magnitude(OneShot):
    """By |w|, compared within the matrix; no calibration."""

    name = "magnitude"
    needs = "nothing"

    def prune(self, weight: Tensor, pattern: Pattern, read: Read | None) -> Pruned:
        """See `OneShot.prune`."""
        return masked(weight, weight.abs(), pattern, by_row=False)
