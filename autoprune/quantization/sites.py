"""What of an ONNX graph can compute with integers: layers with weights, and what joins or pools their outputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

__all__ = ["Site", "Sites", "sites_of"]

_WEIGHTED = {"Conv": 0, "Gemm": 1, "MatMul": 1}  # -> dimension of outputs; of a transposed Gemm 0
_JOINS = frozenset({"Add", "Concat", "GlobalAveragePool", "AveragePool", "MaxPool"})
_ACTIVATIONS = frozenset({"Relu", "Clip"})  # executed inside the operator before them
_PASSING = frozenset({"Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity"})


@dataclass(frozen=True)
class Site:
    """An operator that can compute with integers.

    Attributes:
        node: Name of its output; what it is called here.
        op: `Conv`, `Gemm`, `MatMul`, `Add`, ...
        inputs: Names of its activations.
        output: What is quantized behind it: the output of the activation function that it includes.
        weight: Name of its weight; None for what joins or pools.
        axis: The weight's dimension of outputs.
        bias: Name of its bias, or None.
        open: Whether its output may stay float32: matrix products give it for nothing.
    """

    node: str
    op: str
    inputs: tuple[str, ...]
    output: str
    weight: str | None = None
    axis: int = 0
    bias: str | None = None
    open: bool = False


@dataclass(frozen=True, eq=False)
class Sites:
    """All of a graph.

    Attributes:
        all: In the order in which they are computed.
        constants: Name -> value of every initializer and constant.
        behind: Tensor -> the one that it is a view of, or was before an activation function.
    """

    all: tuple[Site, ...]
    constants: Mapping[str, NDArray[Any]]
    behind: Mapping[str, str]

    @property
    def layers(self) -> tuple[Site, ...]:
        """Those with weights."""
        return tuple(site for site in self.all if site.weight is not None)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Every activation that may need a range, once, in the order in which they are computed."""
        return tuple(dict.fromkeys(name for site in self.all for name in (*site.inputs, site.output)))

    def active(self, float_layers: Collection[str] = ()) -> tuple[Site, ...]:
        """Those that compute with integers if some layers do not.

        What joins or pools does so where all that it reads comes from integers.

        Args:
            float_layers: Nodes of layers that stay float32.
        """
        integers: set[str] = set()
        found = []
        for site in self.all:
            computes = site.node not in float_layers
            if site.weight is None:
                computes = all(self._origin(name) in integers for name in site.inputs)
            if computes:
                found.append(site)
                integers.add(site.node)
        return tuple(found)

    def ranged_as(self, name: str) -> str:
        """The tensor whose range counts for another: what is pooled by its largest values keeps their integers."""
        pooled = {site.output: site.inputs[0] for site in self.all if site.op == "MaxPool"}
        while name in pooled:
            name = pooled[name]
        return name

    def _origin(self, name: str) -> str:
        while name in self.behind:
            name = self.behind[name]
        return name


def sites_of(model: onnx.ModelProto) -> Sites:
    """Everything in a graph that can compute with integers."""
    constants = _constants(model.graph)
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    floats, outputs = _floats(model), {value.name for value in model.graph.output}
    behind = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type in (_ACTIVATIONS | _PASSING)}
    found = []
    for node in model.graph.node:
        site = _site(node, constants)
        if site is None or site.node not in floats:
            continue
        following = readers.get(site.node, [])
        if len(following) == 1 and following[0].op_type in _ACTIVATIONS and site.node not in outputs:
            site = replace(site, output=following[0].output[0])
        found.append(site)
    return Sites(tuple(found), constants, behind)


def _site(node: Any, constants: Mapping[str, NDArray[Any]]) -> Site | None:
    inputs, name = list(node.input), node.output[0]
    if node.op_type in _JOINS:
        stays = any(each in constants for each in inputs)
        return None if stays else Site(name, node.op_type, tuple(dict.fromkeys(inputs)), name)
    if node.op_type not in _WEIGHTED or len(inputs) < 2 or inputs[1] not in constants or inputs[0] in constants:
        return None
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Gemm" and (given.get("transA") or given.get("alpha", 1.0) != 1 or given.get("beta", 1.0) != 1):
        return None
    if node.op_type == "MatMul" and constants[inputs[1]].ndim != 2:
        return None
    bias = inputs[2] if len(inputs) > 2 and inputs[2] else None
    if bias is not None and (bias not in constants or constants[bias].ndim != 1):
        return None
    axis = 0 if given.get("transB") else _WEIGHTED[node.op_type]
    return Site(name, node.op_type, (inputs[0],), name, inputs[1], axis, bias, open=node.op_type != "Conv")


def _constants(graph: Any) -> dict[str, NDArray[Any]]:
    """Initializers and constants, also under the names that Identity gives them."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return {name: np.asarray(value) for name, value in found.items()}


def _floats(model: onnx.ModelProto) -> set[str]:
    """Tensors of float32, as far as that can be inferred."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
