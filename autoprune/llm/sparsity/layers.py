"""The weights of a decoder block that can have zeros: those of its linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.masks.planes import Planes

__all__ = ["Layer", "linear_layers"]

_CONV1D = "Conv1D"  # of transformers: a linear layer whose weight lies the other way round
_ROUND = {nn.Linear: Planes(), _CONV1D: Planes(inputs=0, outputs=1)}


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer.

    Attributes:
        name: Its qualified name.
        module: The layer.
        planes: How its weight lies in memory.
    """

    name: str
    module: nn.Module
    planes: Planes

    @property
    def parameter(self) -> nn.Parameter:
        """The weight."""
        found = self.module.weight
        assert isinstance(found, nn.Parameter)
        return found

    @property
    def matrix(self) -> Tensor:
        """A copy of the weight in float32, (outputs, inputs)."""
        return self.planes.of(self.parameter.detach())[0].to(torch.float32, copy=True)

    def put(self, matrix: Tensor) -> None:
        """Give it a weight, (outputs, inputs); it keeps its precision."""
        with torch.no_grad():
            weight = self.parameter
            weight.copy_(self.planes.back(matrix[None], weight).to(weight.dtype))


def linear_layers(block: nn.Module, prefix: str, shared: Mapping[int, str]) -> list[Layer]:
    """The linear layers of a block, each weight once.

    Args:
        block: The block.
        prefix: Its qualified name.
        shared: id of a parameter that lies outside the blocks, too, such as a tied embedding: such are left alone.
    """
    found: dict[int, Layer] = {}
    for name, module in block.named_modules():
        planes = _ROUND.get(type(module)) or _ROUND.get(type(module).__name__)
        weight = getattr(module, "weight", None)
        if planes is None or not isinstance(weight, nn.Parameter) or id(weight) in shared or id(weight) in found:
            continue
        found[id(weight)] = Layer(f"{prefix}.{name}", module, planes)
    return list(found.values())
