"""OpenVINO graphs of single layers, for timing, with tensors in the order in which the CPU plugin computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from openvino import opset8 as ops
from openvino.preprocess import PrePostProcessor

from autoprune.hardware.contract.layer import BORDERS, Layer

__all__ = ["channels_last", "empty", "layer_graph"]

_ORDERS = {3: ("NCW", "NWC"), 4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}
_NUMBERS = {"f32": openvino.Type.f32, "bf16": openvino.Type.bf16, "f16": openvino.Type.f16}


def layer_graph(layer: Layer, precision: str) -> openvino.Model:
    """A graph that executes a layer once, fed and read as it would be by its neighbours in a network.

    Inside a network the plugin keeps images channels last and in the precision of its computation. A graph that is
    handed anything else reorders first: 71 % too slow on ResNet-20.

    Args:
        layer: What to execute.
        precision: In which the tensors are handed over.
    """
    if layer.variant == "int8":
        return _integers(layer)
    if layer.kind in BORDERS:
        return _border(layer)
    x = ops.parameter(list(layer.input_shape), np.float32)
    graph = openvino.Model([_operator(layer, x)], [x], "layer")
    if layer.macs == 0:  # no order of its own: it takes what it is handed, and another one would be reordered
        return _handed_over(graph, precision, images=False)
    return channels_last(graph, precision)


def _integers(layer: Layer) -> openvino.Model:
    """A convolution or linear layer in integers, as between two such layers.

    Of an image one pixel is handed out: all of it would be brought into another order first, which takes half as long
    as the layer.
    """
    x = ops.parameter(list(layer.input_shape), np.float32)
    y = _rounded(ops.relu(_operator(layer, _rounded(x))))
    if layer.out_size:
        ends = [1, layer.outputs, *[1] * len(layer.out_size)]
        none = [0] * len(ends)
        y = ops.strided_slice(y, np.array(none), np.array(ends), np.ones(len(ends), int), none, none)
    return channels_last(openvino.Model([y], [x], "layer"))


def _border(layer: Layer) -> openvino.Model:
    """From float32 to integers or back."""
    shape = list(layer.input_shape)
    if layer.kind == "quantize":
        x = ops.parameter(shape, np.float32)
        return openvino.Model([ops.convert(ops.multiply(x, np.float32(50.0)), "u8")], [x], "border")
    x = ops.parameter(shape, np.uint8)
    return openvino.Model([ops.multiply(ops.convert(x, "f32"), np.float32(0.02))], [x], "border")


def _rounded(x: Any) -> Any:
    low, high = np.float32(0.0), np.float32(5.1)
    return ops.fake_quantize(x, low, high, low, high, 256)


def empty() -> openvino.Model:
    """A graph that does nothing to speak of, to find out what a call costs."""
    x = ops.parameter([1], np.float32)
    return openvino.Model([ops.relu(x)], [x], "empty")


def channels_last(graph: openvino.Model, precision: str = "f32") -> openvino.Model:
    """The same graph, with every image that goes in or comes out laid out channels last.

    Args:
        graph: Changed in place.
        precision: Of the tensors that go in and come out.
    """
    return _handed_over(graph, precision, images=True)


def _handed_over(graph: openvino.Model, precision: str, *, images: bool) -> openvino.Model:
    process = PrePostProcessor(graph)
    ends = [(process.input(i), value) for i, value in enumerate(graph.inputs)]
    ends += [(process.output(i), value) for i, value in enumerate(graph.outputs)]
    for end, value in ends:
        end.tensor().set_element_type(_NUMBERS[precision])
        orders = _ORDERS.get(len(value.shape))
        if images and orders:
            end.model().set_layout(openvino.Layout(orders[0]))
            end.tensor().set_layout(openvino.Layout(orders[1]))
    return process.build()


def _operator(layer: Layer, x: Any) -> Any:
    if layer.kind == "elementwise":
        return ops.relu(x)
    if layer.kind == "pool":
        return _pool(layer, x)
    y = _linear(layer, x) if layer.kind == "linear" else _convolution(layer, x)
    if not layer.bias:
        return y
    bias = _random((1, layer.outputs, *[1] * len(layer.out_size)))
    return ops.add(y, bias)


def _convolution(layer: Layer, x: Any) -> Any:
    arguments = (list(layer.stride), list(layer.padding), list(layer.padding), list(layer.dilation))
    if layer.groups == 1:
        return ops.convolution(x, _weight(layer, layer.weight_shape), *arguments)
    grouped = (layer.groups, layer.outputs // layer.groups, layer.inputs // layer.groups, *layer.kernel)
    return ops.group_convolution(x, _weight(layer, grouped), *arguments)


def _linear(layer: Layer, x: Any) -> Any:
    return ops.matmul(x, _weight(layer, (layer.outputs, layer.inputs)), False, True)


def _pool(layer: Layer, x: Any) -> Any:
    if not layer.kernel:
        return ops.reduce_mean(x, np.arange(2, 2 + len(layer.size)), True)
    padding = list(layer.padding)
    return ops.max_pool(x, list(layer.stride), [1] * len(layer.kernel), padding, padding, list(layer.kernel)).output(0)


def _weight(layer: Layer, shape: tuple[int, ...]) -> Any:
    if layer.variant != "int8":
        return _random(shape)
    integers = ops.constant(np.random.default_rng(0).integers(-127, 128, shape, dtype=np.int8))
    return ops.multiply(ops.convert(integers, "f32"), np.float32(0.002))


def _random(shape: tuple[int, ...]) -> Any:
    """Weights that are no special numbers: equal ones, zeros or denormals could be computed faster or slower."""
    return ops.constant((np.random.default_rng(0).standard_normal(shape) * 0.05).astype(np.float32))
