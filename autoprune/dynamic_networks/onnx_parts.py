"""Parts of a network as ONNX graphs of a batch of one, each exported by itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.onnx_nodes import Inputs, onnx_package
from autoprune.export.onnx import to_onnx, to_onnx_for_timing

__all__ = ["exported", "inputs_of"]


def exported(module: nn.Module, given: tuple[Any, ...], *, for_timing: bool = False) -> Any:
    """A part as an ONNX model.

    Args:
        module: The part.
        given: What it is called with.
        for_timing: Whether the faster exporter will do.

    Raises:
        MissingExtraError: If onnx is not installed.
        UnsupportedModelError: If it cannot be exported.
    """
    onnx = onnx_package()
    return onnx.load_from_string(to_onnx_for_timing(module, given) if for_timing else to_onnx(module, given))


def inputs_of(flow: Flow) -> Inputs:
    """(name, element type, shape) of each of a network's inputs, for a batch of one."""
    onnx = onnx_package()
    return tuple(
        (node.name, onnx.helper.np_dtype_to_tensor_dtype(value.numpy().dtype), tuple(value.shape))
        for node, value in zip(flow.placeholders, flow.flat(flow.example.with_batch(1)), strict=True)
        if isinstance(value, Tensor)
    )
