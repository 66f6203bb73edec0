"""Files of networks of which some layers compute with integers: which node of a file is which layer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autoprune.errors import UnsupportedModelError
from autoprune.models.inputs.example import as_example
from autoprune.models.modes import in_mode
from autoprune.quantization.sites import Site, Sites

__all__ = ["float_nodes"]

Matrix = NDArray[Any]

_ALIKE = 0.999  # least cosine between an output's weights in the network and in its file


def float_nodes(model: nn.Module, example: Any, sites: Sites, integers: Collection[str]) -> tuple[str, ...]:
    """Nodes of a file's layers that stay float32: all but those of some modules.

    Args:
        model: What the file was exported from, without rounding; called once.
        example: An input, or several as `as_example` takes them.
        sites: Of the file.
        integers: Names of modules that compute with integers.

    Raises:
        UnsupportedModelError: If one of these modules has no node of its own in the file.
    """
    named = _named(model, example, sites.layers, sites)
    missing = next((name for name in integers if name not in named.values()), None)
    if missing is not None:
        raise UnsupportedModelError(
            f"{missing} cannot compute with integers: the network's ONNX file has no layer of its own for it; --skip it"
        )
    return tuple(site.node for site in sites.layers if named.get(site.node) not in integers)


def _named(model: nn.Module, example: Any, layers: tuple[Site, ...], sites: Sites) -> dict[str, str]:
    """Node -> module: both come in the order in which they are computed, and have the same weights.

    Shapes are not enough: a layer that is called for nothing is not in the file, and the next may have its shape.
    """
    found, rest = {}, list(layers)
    for name, weight in _called(model, example):
        for place, site in enumerate(rest):
            own = sites.constants[str(site.weight)]
            if _is_scaled(weight, own if site.axis == 0 else own.T):
                found[site.node] = name
                del rest[: place + 1]
                break
    return found


def _is_scaled(weight: Matrix, own: Matrix) -> bool:
    """Whether a file's weight is a module's, outputs first, up to a factor for each output, as BatchNorm has.

    Outputs that are zero in one of them say nothing.
    """
    if weight.shape != own.shape:
        return False
    ours, theirs = (each.reshape(len(each), -1).astype(np.float64) for each in (weight, own))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return bool(np.all(np.abs((ours * theirs).sum(1)) >= _ALIKE * lengths))


def _called(model: nn.Module, example: Any) -> list[tuple[str, Matrix]]:
    """Every call of a layer: the module's name and its weight."""
    calls: list[tuple[str, Matrix]] = []
    hooks = [
        module.register_forward_hook(lambda m, given, out, name=name: calls.append((name, _weight_of(m))))
        for name, module in model.named_modules()
        if isinstance(weight := module._parameters.get("weight"), nn.Parameter) and weight.dim() > 1
    ]
    try:
        with in_mode(model), torch.no_grad():
            as_example(example).copied().run(model)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _weight_of(layer: nn.Module) -> Matrix:
    weight: torch.Tensor = layer.get_parameter("weight")
    found: Matrix = weight.detach().float().cpu().numpy()
    return found
