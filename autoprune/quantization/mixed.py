"""Files of networks of which some layers compute with integers: which node of a file is which layer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from autoprune.errors import UnsupportedModelError
from autoprune.models.inputs.example import as_example
from autoprune.models.modes import in_mode
from autoprune.quantization.sites import Site, Sites

__all__ = ["float_nodes"]

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


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
    """Node -> module: both come in the order in which they are computed, and have weights of one shape."""
    found, rest = {}, list(layers)
    for name, shape in _called(model, example):
        for place, site in enumerate(rest):
            own = sites.constants[str(site.weight)].shape
            if shape == (tuple(own) if site.axis == 0 else tuple(reversed(own))):
                found[site.node] = name
                del rest[: place + 1]
                break
    return found


def _called(model: nn.Module, example: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Every call of a convolution or linear layer: the module's name and its weight's shape."""
    calls: list[tuple[str, tuple[int, ...]]] = []
    hooks = [
        module.register_forward_hook(lambda m, given, out, name=name: calls.append((name, tuple(m.weight.shape))))
        for name, module in model.named_modules()
        if isinstance(module, _LAYERS)
    ]
    try:
        with in_mode(model), torch.no_grad():
            as_example(example).copied().run(model)
    finally:
        for hook in hooks:
            hook.remove()
    return calls
