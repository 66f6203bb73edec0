"""Single tensors of a network, by name."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["set_tensor"]


def set_tensor(network: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in place of a parameter or buffer, whatever memory that has."""
    path, _, own = name.rpartition(".")
    module = network.get_submodule(path)
    if own in module._parameters:
        module._parameters[own] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._buffers[own] = tensor
