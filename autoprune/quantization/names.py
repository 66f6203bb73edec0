"""What a network's module names are of the layers in its ONNX file."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from autoprune.export.folding import fold_batch_norm

__all__ = ["layer_names"]

_ATEN = torch.ops.aten
_LAYERS = frozenset(
    {
        *(_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv3d.default, _ATEN.linear.default),
        *(_ATEN.conv1d.padding, _ATEN.conv2d.padding, _ATEN.conv3d.padding),
    }
)


def layer_names(model: nn.Module, example: Any, count: int) -> list[str | None]:
    """Qualified names of the modules of convolutions and linear layers, in the order in which they are computed.

    Args:
        model: Left as it is.
        example: An input, or several as `as_example` takes them.
        count: Layers of the ONNX file, which are in the same order.

    Returns:
        A name for each layer; all None where the file has other layers than the network's own.
    """
    found = []
    for node in fold_batch_norm(model, example).graph.nodes:
        if node.target in _LAYERS:
            stack = list((node.meta.get("nn_module_stack") or {}).values())
            found.append(str(stack[-1][0]) if stack and stack[-1][0] else None)
    return found if len(found) == count else [None] * count
