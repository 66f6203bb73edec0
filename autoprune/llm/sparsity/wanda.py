"""Wanda: weights by their size and that of what they are multiplied with.

Sun, Liu, Bair and Kolter, A simple and effective pruning approach for large language models, ICLR 2024: the weight from
input j to output i counts |W[i, j]| * ||X[j]||, X[j] being input j on all calibration tokens, and is compared within
its output row. Nothing is updated.
"""

from __future__ import annotations

from torch import Tensor

from autoprune.llm.sparsity.base import OneShot, Pruned, masked
from autoprune.llm.sparsity.statistics import Read
from autoprune.masks.base import Pattern

__all__ = ["Wanda", "saliency"]


def saliency(weight: Tensor, read: Read | None) -> Tensor:
    """|W| times the norm of each input, (outputs, inputs); |W| alone for a layer that read nothing."""
    return weight.abs() if read is None else weight.abs() * read.squares.sqrt()


class Wanda(OneShot):
    """By |w| times the norm of the input, compared within the output row."""

    name = "wanda"
    needs = "norms"

    def prune(self, weight: Tensor, pattern: Pattern, read: Read | None) -> Pruned:
        """See `OneShot.prune`."""
        note = None if read is not None else "never called on the calibration text: by magnitude in each row"
        found = masked(weight, saliency(weight, read), pattern, by_row=True)
        return Pruned(found.weight, found.mask, note)
