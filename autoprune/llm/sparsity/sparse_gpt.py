"""SparseGPT of a language model's layers: the masks and the new weights of `autoprune.reconstruction.sparsegpt`."""

from __future__ import annotations

from torch import Tensor

from autoprune.errors import InputError
from autoprune.llm.sparsity.base import OneShot, Pruned
from autoprune.llm.sparsity.statistics import Read
from autoprune.llm.sparsity.wanda import Wanda
from autoprune.masks.base import Pattern
from autoprune.masks.n_of_m import NofM
from autoprune.masks.unstructured import Unstructured
from autoprune.reconstruction.grids import grid_of_bits
from autoprune.reconstruction.sparsegpt import DAMPING, Chooser, by_groups, by_share, rounded_sparsegpt, sparsegpt

__all__ = ["SparseGpt"]


class SparseGpt(OneShot):
    """Column by column, with the update that makes up for what goes.

    Where the second moments cannot be factorised at all, the matrix is pruned by Wanda, which is said.

    Args:
        damping: Added to the diagonal of the second moments, relative to its mean.
        bits: Weights are rounded as GGUF's Q8_0 (8) or Q4_0 (4) in the same pass; None for not at all.
    """

    name = "sparsegpt"
    needs = "moments"

    def __init__(self, damping: float = DAMPING, bits: int | None = None) -> None:
        if not 0 < damping <= 1:
            raise InputError(f"the damping is above 0 and at most 1, not {damping:g}")
        self.damping = damping
        self.grid = None if bits is None else grid_of_bits(bits)

    def prune(self, weight: Tensor, pattern: Pattern, read: Read | None) -> Pruned:
        """See `OneShot.prune`."""
        if read is None or read.moments is None:
            return Wanda().prune(weight, pattern, read)
        blocks = _blocks(pattern, weight)
        if self.grid is None:
            solved = sparsegpt(weight, read.moments, blocks, self.damping)
        else:
            solved = rounded_sparsegpt(weight, read.moments, blocks, self.grid, self.damping)
        if solved is None:
            found = Wanda().prune(weight, pattern, read)
            return Pruned(found.weight, found.mask, f"second moments cannot be factorised: by Wanda{self._unrounded}")
        raised = f"damping raised to {solved.damping:g}" if solved.damping > self.damping else None
        return Pruned(solved.weight, solved.mask, raised)

    @property
    def _unrounded(self) -> str:
        return "" if self.grid is None else ", not rounded"


def _blocks(pattern: Pattern, weight: Tensor) -> list[tuple[int, int, Chooser]]:
    rows, columns = weight.shape
    if isinstance(pattern, NofM):
        return by_groups(pattern, columns, 1)
    if isinstance(pattern, Unstructured):
        return by_share(pattern, rows, columns)
    raise InputError(f"sparsegpt chooses N:M or a share of zeros, not {pattern.name}")
