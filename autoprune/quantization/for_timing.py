"""Networks in integers for timing: latency depends on no range, so one pass over the example says them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import onnx
from torch import nn

from autoprune.export.onnx import to_onnx_for_timing
from autoprune.export.onnx_network import opened_file
from autoprune.quantization.mixed import float_nodes
from autoprune.quantization.observe import with_outputs
from autoprune.quantization.qdq import QuantizationPlan, with_integers
from autoprune.quantization.rounding import integer_layers, without_rounding
from autoprune.quantization.scheme import Scheme
from autoprune.quantization.sites import sites_of

__all__ = ["file_for_timing", "integers_for_timing"]


def file_for_timing(model: nn.Module, example: Any, types: Callable[[], Scheme], *, whole: bool) -> bytes:
    """A network as the ONNX file that a runtime with integers is timed with.

    Args:
        model: Layers that round (`autoprune.quantization.rounding`) compute with integers in the file.
        example: An input of the shape that is timed.
        types: Says the types of integers; asked where there are some.
        whole: Whether every layer computes with integers.
    """
    rounding, plain = integer_layers(model), without_rounding(model)
    content = to_onnx_for_timing(plain, example)
    if whole:
        return integers_for_timing(content, types())
    if not rounding:
        return content
    floats = float_nodes(plain, example, sites_of(onnx.load_from_string(content)), rounding)
    return integers_for_timing(content, types(), floats)


def integers_for_timing(content: bytes, scheme: Scheme, float_layers: Collection[str] = ()) -> bytes:
    """A float32 ONNX file as one with integers, for timing and not for delivery.

    Args:
        content: With fixed sizes, or a batch that is open.
        scheme: Types.
        float_layers: Nodes of layers that stay float32.

    Returns:
        The file; as it was where no layer can compute with integers.
    """
    model = onnx.load_from_string(content)
    sites = sites_of(model)
    if not sites.layers:
        return content
    draw = np.random.default_rng(0)
    fed = []
    for value in model.graph.input:
        shape = [size.dim_value or 1 for size in value.type.tensor_type.shape.dim]
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        real = np.issubdtype(kind, np.floating)
        fed.append((draw.standard_normal(shape) if real else np.zeros(shape)).astype(kind))
    seen = opened_file(with_outputs(model, sites.tensors))(fed)
    pairs = zip(sites.tensors, seen, strict=True)
    ranges = {name: (float(np.nanmin(values)), float(np.nanmax(values))) for name, values in pairs}
    return with_integers(model, QuantizationPlan(scheme, ranges, float_layers))
