"""ONNX graphs of single layers, for timing. A few hundred bytes each: weights are filled in by the runtime."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto, helper

from autoprune.export.opset import OPSET
from autoprune.hardware.contract.layer import BORDERS, Layer

__all__ = ["layer_graph"]

_FLOAT = TensorProto.FLOAT
_IR_VERSION = 10


def layer_graph(layer: Layer, copies: int) -> bytes:
    """A serialised model that executes a layer `copies` times.

    Convolutions and linear layers run side by side on one input, each with weights of its own (equal ones would be
    merged), and are summed, which the runtime does inside them. Elementwise layers follow one another.

    Args:
        layer: What to execute.
        copies: How often; 0 gives a graph that only copies one number.
    """
    if copies == 0:
        return _model([helper.make_node("Identity", ["x"], ["y"])], (1,), (1,), [])
    if layer.kind in BORDERS:
        return _border(layer)
    if layer.kind == "elementwise":
        return _chain(layer, copies)
    if layer.kind == "pool":
        return _pool(layer)
    if layer.variant == "int8":
        return _integers(layer, copies)
    nodes: list[Any] = []
    constants = [_constant("weight_shape", _weight_shape(layer)), _constant("bias_shape", (layer.outputs,))]
    total = ""
    for copy in range(copies):
        nodes += [_filled(f"w{copy}", "weight_shape", 0.01 + 0.001 * copy)]
        names = ["x", f"w{copy}"]
        if layer.bias:
            nodes += [_filled(f"b{copy}", "bias_shape", 0.1 + 0.01 * copy)]
            names += [f"b{copy}"]
        nodes += [_weighted(layer, names, f"y{copy}")]
        if total:
            nodes += [helper.make_node("Add", [total, f"y{copy}"], [f"s{copy}"])]
        total = f"s{copy}" if total else f"y{copy}"
    shape = (layer.batch, layer.outputs, *layer.out_size)
    return _model(nodes, layer.input_shape, shape, constants, output=total)


def _integers(layer: Layer, copies: int) -> bytes:
    """As `layer_graph`, in integers: quantized once at the start, each copy's output and every sum quantized.

    Zero points are those of values behind a ReLU; latency depends on neither numbers nor scales.
    """
    constants = [
        _constant("weight_shape", _weight_shape(layer)),
        _constant("bias_shape", (layer.outputs,)),
        helper.make_tensor("zero", TensorProto.UINT8, [], [0]),
        helper.make_tensor("zero_w", TensorProto.INT8, [], [0]),
        helper.make_tensor("scale", _FLOAT, [], [0.02]),
        helper.make_tensor("scale_b", _FLOAT, [], [0.0004]),
    ]
    nodes: list[Any] = []
    last, total = _pair(nodes, "x"), ""
    for copy in range(copies):
        nodes += [_filled(f"w{copy}_q", "weight_shape", 3 + copy, TensorProto.INT8)]
        nodes += [helper.make_node("DequantizeLinear", [f"w{copy}_q", "scale", "zero_w"], [f"w{copy}"])]
        names = [last, f"w{copy}"]
        if layer.bias:
            nodes += [_filled(f"b{copy}_q", "bias_shape", 5 + copy, TensorProto.INT32)]
            nodes += [helper.make_node("DequantizeLinear", [f"b{copy}_q", "scale_b"], [f"b{copy}"])]
            names += [f"b{copy}"]
        nodes += [_weighted(layer, names, f"y{copy}")]
        one = _pair(nodes, f"y{copy}")
        if total:
            nodes += [helper.make_node("Add", [total, one], [f"s{copy}"])]
            one = _pair(nodes, f"s{copy}")
        total = one
    shape = (layer.batch, layer.outputs, *layer.out_size)
    return _model(nodes, layer.input_shape, shape, constants, output=total)


def _pair(nodes: list[Any], name: str) -> str:
    """QuantizeLinear and DequantizeLinear behind a tensor; the name of what they give back."""
    nodes += [
        helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}_u8"]),
        helper.make_node("DequantizeLinear", [f"{name}_u8", "scale", "zero"], [f"{name}_dq"]),
    ]
    return f"{name}_dq"


def _weight_shape(layer: Layer) -> tuple[int, ...]:
    return layer.weight_shape if layer.kind == "conv" else (layer.inputs, layer.outputs)


def _weighted(layer: Layer, names: list[str], output: str) -> Any:
    if layer.kind == "linear":
        return helper.make_node("Gemm" if layer.bias else "MatMul", names, [output])
    return helper.make_node(
        "Conv",
        names,
        [output],
        kernel_shape=list(layer.kernel),
        strides=list(layer.stride),
        pads=list(layer.padding) * 2,
        dilations=list(layer.dilation),
        group=layer.groups,
    )


def _chain(layer: Layer, copies: int) -> bytes:
    nodes, constants, last = [], [], "x"
    for copy in range(copies):
        constants.append(helper.make_tensor(f"c{copy}", _FLOAT, [], [1.0 + 0.01 * (-1) ** copy]))
        nodes.append(helper.make_node("Mul", [last, f"c{copy}"], [f"y{copy}"]))
        last = f"y{copy}"
    return _model(nodes, layer.input_shape, layer.input_shape, constants, output=last)


def _border(layer: Layer) -> bytes:
    """From float32 to integers or back; images change their order too, since integers are computed channels last."""
    inward = layer.kind == "quantize"
    constants = [
        helper.make_tensor("scale", _FLOAT, [], [0.02]),
        helper.make_tensor("zero", TensorProto.UINT8, [], [0]),
    ]
    kinds = (_FLOAT, TensorProto.UINT8) if inward else (TensorProto.UINT8, _FLOAT)
    turned = (
        [0, *range(2, len(layer.input_shape)), 1]
        if inward
        else [0, len(layer.size) + 1, *range(1, len(layer.size) + 1)]
    )
    given = layer.input_shape if inward else (layer.batch, *layer.size, layer.inputs)
    convert = helper.make_node("QuantizeLinear" if inward else "DequantizeLinear", ["x", "scale", "zero"], ["z"])
    nodes = [convert, helper.make_node("Transpose", ["z"], ["y"], perm=turned)]
    return _model(nodes, given, tuple(given[axis] for axis in turned), constants, kinds=kinds)


def _pool(layer: Layer) -> bytes:
    shape = (layer.batch, layer.outputs, *layer.out_size)
    if not layer.kernel:
        node = helper.make_node("GlobalAveragePool", ["x"], ["y"])
        shape = (layer.batch, layer.outputs, *[1] * len(layer.size))
    else:
        node = helper.make_node(
            "MaxPool",
            ["x"],
            ["y"],
            kernel_shape=list(layer.kernel),
            strides=list(layer.stride),
            pads=list(layer.padding) * 2,
        )
    return _model([node], layer.input_shape, shape, [])


def _constant(name: str, numbers: tuple[int, ...]) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, [len(numbers)], list(numbers))


def _filled(name: str, shape: str, value: float, kind: int = _FLOAT) -> Any:
    """A weight that the runtime fills in when it loads the graph; latency does not depend on the numbers."""
    return helper.make_node("ConstantOfShape", [shape], [name], value=helper.make_tensor("v", kind, [1], [value]))


def _model(
    nodes: list[Any],
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    constants: list[Any],
    output: str = "y",
    kinds: tuple[int, int] = (_FLOAT, _FLOAT),
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", kinds[0], list(input_shape))],
        [helper.make_tensor_value_info(output, kinds[1], list(output_shape))],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)
    content: bytes = model.SerializeToString()
    return content
