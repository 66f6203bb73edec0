"""The copy of a model that a proof experiments on: double precision, random weights and statistics, random input."""

from __future__ import annotations

import math

import torch
from torch import nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph.trace.outputs import tensors_of
from autoprune.graph.trace.quiet import quiet
from autoprune.graph.trace.source_lines import raised
from autoprune.models.copying import isolated
from autoprune.models.inputs.example import Example
from autoprune.models.state import state_kept

__all__ = ["SEED", "call", "prepared", "resized"]

SEED = 20180910


def call(model: nn.Module, example: Example) -> list[torch.Tensor]:
    """The tensors of the model's output for the example, under one seed and from the state that the model is in.

    To be called inside ``quiet()``, which restores the random state; what the forward keeps is undone here.
    """
    torch.manual_seed(SEED)
    with state_kept(model):
        return [tensor.detach() for tensor in tensors_of(example.run(model))]


def prepared(model: nn.Module, sized: Example, example: Example, casts: bool) -> tuple[nn.Module, Example, float]:
    """A copy to experiment on, a random input like ``sized`` and a tolerance (relative to the largest output).

    Doubles with random weights where the model can run so; else its own precision, else its own weights. An output
    that is infinite in places (actions masked by -inf) will do where no run is finite throughout.

    Raises:
        UnsupportedModelError: The model's forward fails, or returns NaN or nothing finite.
    """
    generator = torch.Generator().manual_seed(SEED)
    random = _random(sized, generator)
    own = next((t.dtype for t in model.parameters() if t.is_floating_point()), torch.float32)
    exact = 1e-4 if casts else 1e-7
    loose = 1e-3 if own in (torch.float32, torch.float64) else 3e-2
    tries = [(torch.float64, exact, True), (torch.float64, exact, False), (own, loose, True), (own, loose, False)]
    failure: BaseException | None = None
    usable: tuple[nn.Module, Example, float] | None = None
    for dtype, tolerance, shuffle in tries:
        shadow = in_precision(isolated(model).eval(), dtype)
        if shuffle:
            _randomise(shadow, generator)
        for candidate in (random, example):  # the example itself where one sample alone does not do
            cast = candidate.map(lambda t, dtype=dtype: t.to(_of(dtype, t)))
            try:
                finite = _finite(shadow, cast)
            except UnsupportedModelError:
                raise
            except Exception as error:  # noqa: BLE001 - the user's forward may not run in this precision
                failure = error
                continue
            if finite is True:
                return shadow, cast, tolerance
            usable = usable or ((shadow, cast, tolerance) if finite is None else None)
    if usable is None:
        raise UnsupportedModelError(_unusable(failure))
    return usable


def resized(shadow: nn.Module, sized: Example) -> Example | None:
    """A random input of another size for such a copy; None where it fails or returns what is not finite."""
    dtype = next((t.dtype for t in shadow.parameters() if t.is_floating_point()), torch.float32)
    random = _random(sized, torch.Generator().manual_seed(SEED)).map(lambda t: t.to(_of(dtype, t)))
    try:
        return random if _finite(shadow, random) is True else None
    except Exception:  # noqa: BLE001 - the user's forward may raise anything
        return None


def _random(sized: Example, generator: torch.Generator) -> Example:
    """An input like ``sized``; what is no floating-point number stays."""

    def drawn(tensor: torch.Tensor) -> torch.Tensor:
        if not (tensor.is_floating_point() or tensor.is_complex()):
            return tensor
        kind = torch.complex64 if tensor.is_complex() else torch.float32
        return torch.randn(tensor.shape, generator=generator, dtype=kind).to(tensor.device, tensor.dtype)

    return sized.map(drawn)


def in_precision(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model with its floating-point numbers in this precision, complex ones in the complex type that goes with it.

    ``Module.to(dtype)`` drops the imaginary part of complex parameters.
    """
    model._apply(lambda tensor: tensor.to(_of(dtype, tensor)))  # type: ignore[no-untyped-call]
    return model


def _of(dtype: torch.dtype, tensor: torch.Tensor) -> torch.dtype:
    if tensor.is_complex():
        return dtype.to_complex() if dtype.itemsize > 2 else tensor.dtype  # there is hardly an operator for halves
    return dtype if tensor.is_floating_point() else tensor.dtype


def _finite(model: nn.Module, example: Example) -> bool | None:
    """Whether all that the model returns is finite; None where some is infinite and some of each tensor is finite."""
    with quiet(), torch.no_grad():
        outputs = [t for t in call(model, example) if t.is_floating_point() or t.is_complex()]
    if all(bool(t.isfinite().all()) for t in outputs):
        return True
    return None if all(bool(t.isfinite().any()) and not bool(t.isnan().any()) for t in outputs) else False


def _unusable(failure: BaseException | None) -> str:
    if failure is None:
        return "the model returns NaN, or nothing finite, for the example input; hand over a real sample"
    return f"the model's forward fails on random inputs and on the example: {raised(failure)}; hand over a real sample"


def _randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Random weights that keep the size of activations, and random statistics: every f(0) is different from 0."""
    variances = {f"{name}.running_var".lstrip(".") for name, m in model.named_modules() if hasattr(m, "running_var")}
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            leaf = name.rpartition(".")[2]
            is_buffer = not isinstance(tensor, nn.Parameter)
            inexact = tensor.is_floating_point() or tensor.is_complex()
            if not inexact or (is_buffer and not leaf.startswith("running_")):
                continue
            kind = torch.complex128 if tensor.is_complex() else torch.float64
            normal = torch.randn(tensor.shape, generator=generator, dtype=kind)
            uniform = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.5
            if name in variances or (tensor.dim() < 2 and "bias" not in leaf and "mean" not in leaf):
                drawn = uniform
            elif tensor.dim() < 2:
                drawn = 0.3 * normal
            else:
                drawn = normal * math.sqrt(2.0 / max(1, tensor[0].numel()))
            tensor.copy_(drawn)
