"""N:M zeros of whole blocks as decisions: which weights of a candidate go, by what the dense network's layers read.

What layers read is gathered once, on the dense network, and sliced as the weights are: the mask of a candidate is that
of its own matrices, whose groups are of the neighbours that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.foundations.progress import Progress, no_progress
from autoprune.llm.blocks.stack import DecoderStack
from autoprune.llm.blocks.storage import WholeNetwork
from autoprune.llm.methods.one_shot import OneShotMethod
from autoprune.llm.methods.registry import METHODS
from autoprune.llm.search.budget import NM, ZerosPlan
from autoprune.llm.sparsity.base import OneShot
from autoprune.llm.sparsity.statistics import Read
from autoprune.llm.sparsity.walk import dense_reads
from autoprune.masks.n_of_m import NofM
from autoprune.masks.planes import Planes

__all__ = ["Matrix", "Slices", "Zeros", "read_zeros"]

Slices = Mapping[str, Mapping[int, Tensor]]
"""Name of a tensor -> dimension -> positions that stay."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """The weight of a linear layer of the dense network.

    Attributes:
        planes: How it lies in memory.
        read: What its layer reads; None where that is not asked for, or it was never called.
    """

    planes: Planes
    read: Read | None

    def read_of(self, positions: Tensor | None) -> Read | None:
        """What is read where these inputs stay; all of them if None."""
        if self.read is None or positions is None:
            return self.read
        places = positions.to(self.read.squares.device)
        moments = self.read.moments
        own = None if moments is None else moments[places][:, places]
        return Read(self.read.squares[places], own, self.read.tokens)


@dataclass(frozen=True, eq=False)
class Zeros:
    """N:M zeros of the linear layers of blocks.

    The last result for each matrix and N is kept, which takes as much memory as the model for each N: candidates of one
    search often differ elsewhere.

    Attributes:
        plan: What a block may have.
        method: Says which weights go.
        blocks: For each block, name of a weight -> the matrix.
    """

    plan: ZerosPlan
    method: OneShot
    blocks: tuple[Mapping[str, Matrix], ...]
    _last: dict[tuple[str, int], tuple[object, Tensor]] = field(default_factory=dict)

    def some(self, choices: Mapping[str, int]) -> bool:
        """Whether any block has zeros."""
        return any(choices.get(f"{NM}.{number}", self.plan.m) < self.plan.m for number in range(len(self.blocks)))

    def taken(
        self, state: Mapping[str, Tensor], choices: Mapping[str, int], slices: Slices, renamed: Callable[[str], str]
    ) -> dict[str, Tensor]:
        """What a network saves, with the zeros of its blocks.

        Args:
            state: Name -> tensor, where units are gone already.
            choices: Decision -> what stays.
            slices: Of the dense tensors, the positions that stay; whole dimensions are left out.
            renamed: What a tensor of the dense network is called in the state.
        """
        found = dict(state)
        for number, matrices in enumerate(self.blocks):
            kept = choices.get(f"{NM}.{number}", self.plan.m)
            present = {name: renamed(name) for name in matrices} if kept < self.plan.m else {}
            for name, place in present.items():
                own = slices.get(name, {})
                key = tuple(sorted((dim, positions.cpu().numpy().tobytes()) for dim, positions in own.items()))
                last = self._last.get((name, kept))
                if last is None or last[0] != key:
                    self._last[name, kept] = last = key, self._pruned(found[place], matrices[name], own, kept)
                found[place] = last[1]
        return found

    @torch.no_grad()
    def _pruned(self, weight: Tensor, matrix: Matrix, own: Mapping[int, Tensor], kept: int) -> Tensor:
        """A weight with its zeros; as it is where it is too narrow for a group."""
        pattern, planes = NofM(kept, self.plan.m), matrix.planes
        plain = planes.of(weight.detach())[0].to(torch.float32, copy=True)
        if pattern.why_not((1, *plain.shape)) is not None:
            return weight
        found = self.method.prune(plain, pattern, matrix.read_of(own.get(planes.inputs)))
        return planes.back(found.weight[None], weight).to(weight.dtype)


def read_zeros(stack: DecoderStack, windows: Tensor, plan: ZerosPlan, progress: Progress = no_progress) -> Zeros:
    """What the linear layers of a network read, which says which of their weights go.

    Args:
        stack: The dense network's blocks.
        windows: Of the calibration text, int64 (windows, tokens).
        plan: What a block may have, and who says which weights go.
        progress: Receives blocks done.

    Raises:
        InputError: If there is no such method, or what a layer reads is not finite.
    """
    kind = METHODS.get(plan.by)
    if not issubclass(kind, OneShotMethod):
        raise InputError(f"{plan.by} sets no single weights to zero; give wanda, sparsegpt or magnitude")
    method = kind.one_shot()
    blocks = [
        {f"{layer.name}.weight": Matrix(layer.planes, reads.get(layer.name)) for layer in layers}
        for layers, reads in dense_reads(WholeNetwork(stack, None), windows, method.needs, progress)
    ]
    return Zeros(plan, method, tuple(blocks))
