"""Lazy layers, which have no shapes before they have run."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import is_lazy

from autoprune.errors import UnsupportedModelError

__all__ = ["require_shapes"]


def require_shapes(model: nn.Module) -> None:
    """Check that every parameter and buffer has a shape.

    Raises:
        UnsupportedModelError: If a lazy layer has not run yet.
    """
    for name, module in model.named_modules():
        if any(is_lazy(tensor) for tensor in (*module._parameters.values(), *module._buffers.values())):
            raise UnsupportedModelError(
                f"layer {name!r} is a {type(module).__name__} whose parameters have no shape yet;"
                " run the model once on a sample before it is handed over"
            )
