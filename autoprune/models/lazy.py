"""Networks that are not there yet: lazy layers without shapes, parameters without values on the meta device."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import is_lazy

from autoprune.errors import UnsupportedModelError

__all__ = ["require_shapes"]


def require_shapes(model: nn.Module) -> None:
    """Check that every parameter and buffer has a shape, and values.

    Raises:
        UnsupportedModelError: If a lazy layer has not run yet, or a parameter lies on the meta device.
    """
    for name, module in model.named_modules():
        if any(is_lazy(tensor) for tensor in (*module._parameters.values(), *module._buffers.values())):
            raise UnsupportedModelError(
                f"layer {name!r} is a {type(module).__name__} whose parameters have no shape yet;"
                " run the model once on a sample before it is handed over"
            )
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            raise UnsupportedModelError(
                f"parameter {name!r} is on the meta device and has no values; make the network with its weights first:"
                " model.to_empty(device='cpu'), then load_state_dict"
            )
