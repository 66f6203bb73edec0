"""What every reconstruction must do; see `autoprune.reconstruction.base.Reconstruction`."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.reconstruction.base import Reconstruction

__all__ = ["check_reconstruction"]


def check_reconstruction(reconstruction: Reconstruction, *, outputs: int = 6, inputs: int = 10, seed: int = 0) -> None:
    """A reconstruction keeps its contract on layers with correlated inputs.

    Raises:
        AssertionError: If it does not; the message names the promise.
    """
    name, draw = reconstruction.name, torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=draw, dtype=torch.float64)
    images = torch.randn(200, 4, generator=draw, dtype=torch.float64) @ torch.randn(4, inputs, generator=draw).double()
    images += 0.1 * torch.randn(200, inputs, generator=draw, dtype=torch.float64)
    gram = images.T @ images
    given = weight.clone(), gram.clone()
    whole = reconstruction.solve(weight, gram, torch.ones_like(weight, dtype=torch.bool))
    assert torch.allclose(whole, weight, atol=1e-6), f"{name} changes a layer of which everything is kept"
    keep = torch.rand(outputs, inputs, generator=draw) > 0.4
    solved = reconstruction.solve(weight, gram, keep)
    assert torch.equal(weight, given[0]) and torch.equal(gram, given[1]), f"{name} changed what it was given"
    assert solved.shape == weight.shape and solved.dtype == weight.dtype, f"{name} gives weights of another form"
    assert not solved[~keep].any(), f"{name} gives values to weights that are not kept"
    error, masked = _error(weight - solved, gram), _error(weight * ~keep, gram)
    assert error <= masked * (1 + 1e-9), f"{name} leaves a larger error ({error:.4g}) than zeroing alone ({masked:.4g})"


def _error(difference: Tensor, gram: Tensor) -> float:
    """Squared error of the layer's outputs over all calibration inputs."""
    return float(torch.einsum("oi,ij,oj->", difference, gram, difference))
