"""Operators that normalise over units: where each group's units lie in what is normalised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from autoprune.graph.analysis import Index
from autoprune.graph.coupling.flow import Norm

__all__ = ["NormLine"]


@dataclass(frozen=True, eq=False)
class NormLine:
    """An operator that normalises over groups' units, with the place of each unit.

    Attributes:
        norm: The operator.
        size: Positions normalised over in the dense network.
        parts: (group, its positions (units, m)).
    """

    norm: Norm
    size: int
    parts: tuple[tuple[str, Index], ...]

    def kept(self, kept: Mapping[str, Index]) -> torch.Tensor | None:
        """The positions that remain, ascending; None when all do."""
        if not any(group in kept for group, _ in self.parts):
            return None
        mask = np.ones(self.size, np.bool_)
        for group, positions in self.parts:
            if group in kept:
                mask[positions] = False
                mask[positions[kept[group]]] = True
        return torch.from_numpy(np.flatnonzero(mask))
