"""The copy of a model that a proof experiments on: double precision, random weights and statistics, random input."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph.trace.example import Example
from autoprune.graph.trace.outputs import tensors_of
from autoprune.graph.trace.quiet import quiet
from autoprune.models.copying import isolated

__all__ = ["SEED", "call", "prepared"]

SEED = 20180910


def call(model: nn.Module, example: Example) -> Any:
    """The model's output for the example, under one seed; to be called inside ``quiet()``, which restores the state."""
    torch.manual_seed(SEED)
    return example.run(model)


def prepared(model: nn.Module, sized: Example, example: Example, casts: bool) -> tuple[nn.Module, Example, float]:
    """A copy to experiment on, a random input like ``sized`` and a tolerance (relative to the largest output).

    Doubles with random weights where the model can run so; else its own precision, else its own weights.
    """
    generator = torch.Generator().manual_seed(SEED)

    def drawn(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor
        return torch.randn(tensor.shape, generator=generator).to(tensor.device, tensor.dtype)

    random = sized.map(drawn)
    own = next((t.dtype for t in model.parameters() if t.is_floating_point()), torch.float32)
    exact = 1e-4 if casts else 1e-7
    loose = 1e-3 if own in (torch.float32, torch.float64) else 3e-2
    tries = [(torch.float64, exact, True), (torch.float64, exact, False), (own, loose, True), (own, loose, False)]
    for dtype, tolerance, shuffle in tries:
        shadow = isolated(model).eval().to(dtype)
        if shuffle:
            _randomise(shadow, generator)
        for candidate in (random, example):  # the example itself where one sample alone does not do
            cast = candidate.map(lambda t, dtype=dtype: t.to(dtype) if t.is_floating_point() else t)
            if _runs(shadow, cast):
                return shadow, cast, tolerance
    raise UnsupportedModelError("the model returns no finite output for the example input; hand over a real sample")


def _runs(model: nn.Module, example: Example) -> bool:
    with quiet(), torch.no_grad():
        try:
            outputs = tensors_of(call(model, example))
        except Exception:  # noqa: BLE001 - the user's forward may not run in this precision
            return False
    return all(bool(torch.isfinite(t).all()) for t in outputs if t.is_floating_point())


def _randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Random weights that keep the size of activations, and random statistics: every f(0) is different from 0."""
    variances = {f"{name}.running_var".lstrip(".") for name, m in model.named_modules() if hasattr(m, "running_var")}
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            leaf = name.rpartition(".")[2]
            is_buffer = not isinstance(tensor, nn.Parameter)
            if not tensor.is_floating_point() or (is_buffer and not leaf.startswith("running_")):
                continue
            normal = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            uniform = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.5
            if name in variances or (tensor.dim() < 2 and "bias" not in leaf and "mean" not in leaf):
                drawn = uniform
            elif tensor.dim() < 2:
                drawn = 0.3 * normal
            else:
                drawn = normal * math.sqrt(2.0 / max(1, tensor[0].numel()))
            tensor.copy_(drawn)
