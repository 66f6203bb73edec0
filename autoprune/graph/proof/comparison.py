"""What two networks return, compared."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["difference"]


def difference(got: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], tolerance: float) -> str | None:
    """What sets a cut network's outputs apart from those it must equal; None where nothing does.

    Args:
        got: The tensors that the cut network returns.
        wanted: Those of the dense network with its dropped units silenced.
        tolerance: Of floating-point numbers, relative to the largest of their tensor.
    """
    if len(got) != len(wanted):
        return "the cut network returns another number of tensors"
    for one, other in zip(got, wanted, strict=True):
        if one.shape != other.shape:
            return f"the cut network returns {list(one.shape)} in place of {list(other.shape)}"
        if not _finite_alike(one, other):
            return "the cut network's output is not finite (one unit alone has no deviation)"
        if not _close(one, other, tolerance):
            return "the cut network differs from the one with those units silenced"
    return None


def _finite_alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the first is finite wherever the second is."""
    return bool((one.isfinite() | ~other.isfinite()).all())


def _close(one: torch.Tensor, other: torch.Tensor, tolerance: float) -> bool:
    if not (one.is_floating_point() or one.is_complex()):
        return torch.equal(one, other)
    finite = other.isfinite()
    if not torch.equal(one[~finite], other[~finite]):  # masked with -inf, both of them or none
        return False
    one, other = one[finite], other[finite]
    if not other.numel():
        return True
    scale = float(other.abs().max()) or 1.0
    return bool(((one - other).abs() <= tolerance * scale).all())
