"""Single layers as calls of ATen operators, for timing: the same operators that an exported network calls."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from autoprune.errors import TargetError
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.sparse_kernels.conversion import converted_by_first, gpu_here
from autoprune.hardware.sparse_kernels.products import convolved, matrix_of
from autoprune.hardware.sparse_kernels.rules import SPARSE_VARIANT, backends_for
from autoprune.masks.assigned import Assigned
from autoprune.masks.compressed import TWO_OF_FOUR
from autoprune.masks.planes import PLAIN

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
    if layer.variant == SPARSE_VARIANT:
        return _sparse_call(layer, x, weight, bias, precision)
    if layer.kind == "linear":
        return lambda: aten.linear.default(x, weight, bias)
    convolve = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}[len(layer.kernel)]
    stride, padding, dilation = list(layer.stride), list(layer.padding), list(layer.dilation)
    return lambda: convolve(x, weight, bias, stride, padding, dilation, layer.groups)


def _sparse_call(layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, precision: str) -> Callable[[], object]:
    """The layer with a 2:4 weight, on sparse tensor cores; a convolution unfolds its image first."""
    backends, reason = backends_for(layer, precision, gpu_here())
    if reason is not None:
        raise TargetError(reason)
    sparse = matrix_of(weight * Assigned(PLAIN, TWO_OF_FOUR).mask(weight.abs()))
    matrix, _ = converted_by_first(sparse, [backend.name for backend in backends])
    if layer.kind == "linear":
        return lambda: torch.nn.functional.linear(x, matrix, bias)
    geometry = (layer.kernel, layer.stride, layer.padding, layer.dilation)
    return lambda: convolved(x, matrix, bias, geometry)


def _pool_call(layer: Layer, x: Tensor) -> Callable[[], object]:
    aten = torch.ops.aten
    if not layer.kernel or len(layer.kernel) != 2:
        spatial = list(range(2, x.dim()))
        return lambda: aten.mean.dim(x, spatial)
    kernel, stride, padding = list(layer.kernel), list(layer.stride), list(layer.padding)
    return lambda: aten.max_pool2d.default(x, kernel, stride, padding)
