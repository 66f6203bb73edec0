"""N:M along the inputs and along the outputs: the transposed weight has the pattern, too."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.masks.base import Pattern, PlanesShape, checked_saliency
from autoprune.masks.n_of_m import NofM

__all__ = ["NofMBothWays"]

_LARGEST = 4  # M; of 4x4 squares there are 90 patterns that keep 2, of 8x8 ones over 10^14


@dataclass(frozen=True)
class NofMBothWays(Pattern):
    """Of every M x M square each row and each column keeps N weights: forward and backward pass are both N:M.

    Every square keeps the pattern of the largest saliency among all that there are. Both widths must be multiples of
    M: a square at the edge would keep more or fewer weights, depending on their saliencies.

    Attributes:
        n: Weights of each row and column of a square that stay.
        m: Rows and columns of a square, 2 to 4.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        along = NofM(self.n, self.m)  # refuses nonsense
        if self.m > _LARGEST:
            raise InputError(f"{along.name}-both: both ways there are patterns of groups up to {_LARGEST} only")

    @property
    def name(self) -> str:
        """As users write it."""
        return f"{self.n}:{self.m}-both"

    def why_not(self, shape: PlanesShape) -> str | None:
        """See `Pattern.why_not`."""
        if shape[1] % self.m or shape[2] % self.m:
            return f"both ways, outputs and inputs must be multiples of {self.m}"
        return None

    def kept(self, shape: PlanesShape) -> int:
        """See `Pattern.kept`."""
        return shape[0] * shape[1] * shape[2] * self.n // self.m

    def mask(self, saliency: Tensor) -> Tensor:
        """See `Pattern.mask`."""
        checked = checked_saliency(self, saliency)
        squares = _squares(checked.double(), self.m)
        patterns = _patterns(self.n, self.m).to(squares.device)
        best = (squares.flatten(3) @ patterns.double().T).argmax(dim=3)
        return _flat(patterns[best].reshape(squares.shape))

    def fault(self, mask: Tensor) -> str | None:
        """See `Pattern.fault`."""
        along = NofM(self.n, self.m)
        found = along.fault(mask)
        if found is not None:
            return found
        across = along.fault(mask.mT)
        return None if across is None else f"along the outputs (input and output change places): {across}"


@lru_cache(maxsize=8)
def _patterns(n: int, m: int) -> Tensor:
    """All m x m squares with n in each row and column, bool (patterns, m * m).

    >>> len(_patterns(2, 4)), len(_patterns(1, 4))
    (90, 24)
    """
    rows = [sum(1 << place for place in places) for places in itertools.combinations(range(m), n)]
    found = []
    for chosen in itertools.product(rows, repeat=m):
        square = torch.tensor([[row >> place & 1 for place in range(m)] for row in chosen], dtype=torch.bool)
        if bool((square.sum(dim=0) == n).all()):
            found.append(square.flatten())
    return torch.stack(found)


def _squares(weights: Tensor, m: int) -> Tensor:
    """(planes, outputs, inputs) as (planes, outputs / m, inputs / m, m, m)."""
    planes, outputs, inputs = weights.shape
    return weights.reshape(planes, outputs // m, m, inputs // m, m).transpose(2, 3)


def _flat(squares: Tensor) -> Tensor:
    """The inverse of `_squares`."""
    return squares.transpose(2, 3).flatten(3, 4).flatten(1, 2).contiguous()
