"""SparseGPT: masks and new weights of a layer, column by column, by the second moments of its inputs.

Frantar and Alistarh, SparseGPT: Massive language models can be accurately pruned in one-shot, ICML 2023. With H = X X^T
and U the upper Cholesky factor of its inverse, column j of the weights is decided in turn; what its zeros take away is
made up for by the columns behind it, each row w by Optimal Brain Surgeon's update (Hassibi and Stork, 1992):

    w[k] -= (w[j] - q[j]) / U[j, j] * U[j, k]      for all k >= j

where q[j] is 0 or w[j], or the nearest number of a grid: so pruning and rounding are made up for in one pass.

Deviations from the authors' code: where the Cholesky factorisation fails, the damping is raised and the numbers are
made finer before giving up, which is reported (`Solved`). And since what is made up for in late columns may itself have
to go, rows whose error ends up larger than that of a mask alone get the mask alone (`better_rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.masks.n_of_m import NofM
from autoprune.masks.unstructured import Unstructured
from autoprune.reconstruction.base import Reconstruction
from autoprune.reconstruction.grids import BLOCK, BlockOfGrid, Grid

__all__ = [
    "DAMPING",
    "Chooser",
    "Solved",
    "SparseGPT",
    "better_rows",
    "by_groups",
    "by_share",
    "fixed_mask",
    "rounded_sparsegpt",
    "sparsegpt",
]

DAMPING = 0.01
"""Added to the diagonal of H, relative to its mean."""

_RAISED = (1.0, 10.0, 100.0, 1000.0)
_BLOCK = 128  # columns after which the update reaches those behind


@dataclass(frozen=True, eq=False)
class Solved:
    """A layer's new weights.

    Attributes:
        weight: (out, in), zero where the mask is false.
        mask: bool (out, in).
        damping: What it took to factorise H, relative to the mean of its diagonal.
    """

    weight: Tensor
    mask: Tensor
    damping: float


Chooser = Callable[[Tensor, Tensor], Tensor]
"""A mask, bool (out, c), of c columns' weights as they are by then, (out, c), and their part of U's diagonal, (c,)."""


def sparsegpt(
    weight: Tensor,
    gram: Tensor,
    blocks: Sequence[tuple[int, int, Chooser]],
    damping: float = DAMPING,
    scales: Sequence[BlockOfGrid] = (),
) -> Solved | None:
    """New weights of one layer.

    Args:
        weight: The dense weights, (out, in).
        gram: Sum over the calibration inputs x of x x^T, (in, in).
        blocks: (first column, column behind the last, what chooses their mask), in order, covering all columns.
        damping: Added to the diagonal, relative to its mean.
        scales: Of each 32 columns; their weights are rounded when their column's turn comes, so that the columns behind
            make up for that, too. None for no rounding; see `rounded_sparsegpt`.

    Returns:
        None where H cannot be factorised whatever the damping: its numbers are not finite.
    """
    dead = gram.diagonal() == 0
    factor = _factor(gram, dead, damping)
    if factor is None:
        return None
    upper, used = factor
    left = weight.to(torch.promote_types(weight.dtype, upper.dtype)).masked_fill(dead, 0)
    upper = upper.to(left.dtype)
    mask = torch.ones_like(left, dtype=torch.bool)
    for first, end, choose in blocks:
        mask[:, first:end] = choose(left[:, first:end], upper.diagonal()[first:end])
        errors = _swept(left[:, first:end], mask[:, first:end], upper[first:end, first:end], scales[first // BLOCK :])
        left[:, end:] -= errors @ upper[first:end, end:]
    return Solved((left * mask).to(weight.dtype), mask, used)


def rounded_sparsegpt(
    weight: Tensor, gram: Tensor, blocks: Sequence[tuple[int, int, Chooser]], grid: Grid, damping: float = DAMPING
) -> Solved | None:
    """New weights on a grid: masks, and the scales of the grid, are those of the weights that are not rounded.

    Scales of the dense weights would not do: what is made up for makes some weights larger than any was.

    Args:
        weight: As for `sparsegpt`.
        gram: As for `sparsegpt`.
        blocks: As for `sparsegpt`.
        grid: Numbers that weights are rounded to, one column after the other.
        damping: As for `sparsegpt`.
    """
    plain = sparsegpt(weight, gram, blocks, damping)
    if plain is None:
        return None
    scales = [grid.block(part) for part in torch.split(plain.weight, BLOCK, dim=1)]
    return sparsegpt(weight, gram, fixed_mask(plain.mask), damping, scales)


def better_rows(weight: Tensor, gram: Tensor, solved: Solved, mask: Tensor, *, together: bool = False) -> Solved:
    """The solution, but for the rows that a mask alone serves better.

    Args:
        weight: The dense weights, (out, in).
        gram: As for `sparsegpt`.
        solved: Its answer.
        mask: bool (out, in): what is kept of the dense weights otherwise.
        together: Whether the pattern counts over all rows, so that all of them or none may be exchanged.
    """
    errors = _row_errors(weight - solved.weight, gram), _row_errors(weight * ~mask, gram)
    if together:
        worse = (errors[0].sum() > errors[1].sum()).expand(len(weight)).unsqueeze(1)
    else:
        worse = (errors[0] > errors[1]).unsqueeze(1)
    found = torch.where(worse, weight * mask, solved.weight)
    return Solved(found, torch.where(worse, mask, solved.mask), solved.damping)


def _row_errors(difference: Tensor, gram: Tensor) -> Tensor:
    """Squared error of each output over all calibration inputs, (out,)."""
    own = difference.to(gram.dtype)
    return ((own @ gram) * own).sum(dim=1)


def fixed_mask(mask: Tensor) -> list[tuple[int, int, Chooser]]:
    """Blocks that keep to a mask, bool (out, in)."""
    columns = mask.shape[1]
    bounds = [(first, min(first + _BLOCK, columns)) for first in range(0, columns, _BLOCK)]
    return [(first, end, _given(mask[:, first:end])) for first, end in bounds]


def _given(mask: Tensor) -> Chooser:
    return lambda left, diagonal: mask


def by_groups(pattern: NofM, inputs: int, planes: int) -> list[tuple[int, int, Chooser]]:
    """Blocks that choose N of each M columns when their turn comes: by w^2 / U[j, j]^2 of the weights as they are then.

    Args:
        pattern: N:M.
        inputs: Columns of one plane; the last group of a plane may be smaller.
        planes: So many planes lie side by side.
    """

    def choose(left: Tensor, diagonal: Tensor) -> Tensor:
        if left.shape[1] <= pattern.n:
            return torch.ones_like(left, dtype=torch.bool)
        return pattern.mask((left / diagonal).square().unsqueeze(0))[0]

    starts = range(0, inputs, pattern.m)
    places = [
        (plane * inputs + first, plane * inputs + min(first + pattern.m, inputs))
        for plane in range(planes)
        for first in starts
    ]
    return [(first, end, choose) for first, end in places]


def by_share(pattern: Unstructured, rows: int, columns: int) -> list[tuple[int, int, Chooser]]:
    """Blocks of 128 columns, each of which loses its share of weights, rows together; the total is exact."""
    kept = pattern.kept((1, rows, columns))
    blocks = []
    for first in range(0, columns, _BLOCK):
        end = min(first + _BLOCK, columns)
        count = round(kept * end / columns) - round(kept * first / columns)
        blocks.append((first, end, _keeping(count)))
    return blocks


def _keeping(count: int) -> Chooser:
    def choose(left: Tensor, diagonal: Tensor) -> Tensor:
        order = (left / diagonal).square().flatten().argsort(descending=True, stable=True)
        mask = torch.zeros(left.numel(), dtype=torch.bool, device=left.device)
        mask[order[:count]] = True
        return mask.reshape(left.shape)

    return choose


def _swept(left: Tensor, mask: Tensor, upper: Tensor, scales: Sequence[BlockOfGrid]) -> Tensor:
    """Go through the columns of a block, in place; the errors (out, c) that those behind it are to make up for."""
    errors = torch.zeros_like(left)
    for column in range(left.shape[1]):
        kept = left[:, column] * mask[:, column]
        if scales:
            kept = scales[column // BLOCK].rounded(kept, column % BLOCK)
        gone = (left[:, column] - kept) / upper[column, column]
        left[:, column:] -= torch.outer(gone, upper[column, column:])
        left[:, column] = kept  # exactly, not but for the last digit
        errors[:, column] = gone
    return errors


def _factor(gram: Tensor, dead: Tensor, damping: float) -> tuple[Tensor, float] | None:
    """The upper Cholesky factor of H^-1, and the damping that it took; in float64 where float32 does not do."""
    if not bool(torch.isfinite(gram).all()):
        return None
    for dtype in (torch.float32, torch.float64):
        own = gram.to(dtype)
        own = own + torch.diag(dead.to(dtype))
        for raised in _RAISED:
            damped = own + damping * raised * own.diagonal().mean() * torch.eye(
                len(own), dtype=dtype, device=own.device
            )
            lower, failed = torch.linalg.cholesky_ex(damped)
            if not int(failed):
                upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
                if not int(failed) and bool(torch.isfinite(upper).all()):
                    return upper, damping * raised
    return None


class SparseGPT(Reconstruction):
    """New values for the weights that a mask keeps."""

    name = "sparsegpt"

    def solve(self, weight: Tensor, gram: Tensor, keep: Tensor) -> Tensor:
        """See `Reconstruction.solve`.

        Raises:
            InputError: If the second moments are not finite.
        """
        found = sparsegpt(weight, gram, fixed_mask(keep))
        if found is None:
            raise InputError("the second moments of a layer's inputs are not finite; check the calibration images")
        return better_rows(weight, gram, found, keep).weight
