"""Single layers as calls of ATen operators, for timing: the same operators that an exported network calls."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from autoprune.hardware.contract.layer import Layer

__all__ = ["DTYPES", "in_format", "layer_call"]

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def in_format(tensor: Tensor, memory_format: str) -> Tensor:
    """The tensor in a memory format; one that is no batch of images, nor a filter, stays as it is."""
    if memory_format == "channels_last" and tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def layer_call(layer: Layer, precision: str, memory_format: str, device: str = "cpu") -> Callable[[], object]:
    """One ATen operator on random tensors of the layer's shapes.

    Args:
        layer: What to execute.
        precision: Of every tensor.
        memory_format: Of images and filters.
        device: Where.
    """

    def tensor(*shape: int) -> Tensor:
        made = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.05
        return in_format(made.to(device, DTYPES[precision]), memory_format)

    aten = torch.ops.aten
    x = tensor(*layer.input_shape)
    if layer.kind == "elementwise":
        return lambda: aten.relu.default(x)
    if layer.kind == "pool":
        return _pool_call(layer, x)
    weight = tensor(*layer.weight_shape)
    bias = tensor(layer.outputs) if layer.bias else None
    if layer.kind == "linear":
        return lambda: aten.linear.default(x, weight, bias)
    convolve = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}[len(layer.kernel)]
    stride, padding, dilation = list(layer.stride), list(layer.padding), list(layer.dilation)
    return lambda: convolve(x, weight, bias, stride, padding, dilation, layer.groups)


def _pool_call(layer: Layer, x: Tensor) -> Callable[[], object]:
    aten = torch.ops.aten
    if not layer.kernel or len(layer.kernel) != 2:
        spatial = list(range(2, x.dim()))
        return lambda: aten.mean.dim(x, spatial)
    kernel, stride, padding = list(layer.kernel), list(layer.stride), list(layer.padding)
    return lambda: aten.max_pool2d.default(x, kernel, stride, padding)
