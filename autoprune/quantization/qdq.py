"""Writing integers into an ONNX graph as pairs of QuantizeLinear and DequantizeLinear.

Both onnxruntime and OpenVINO make integer kernels of a file in this form. The same plan gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from autoprune.errors import InputError
from autoprune.quantization.affine import Affine, activation_numbers, quantized_bias, quantized_weight
from autoprune.quantization.scheme import Scheme
from autoprune.quantization.sites import Site, Sites, sites_of

__all__ = ["QuantizationPlan", "with_integers"]


@dataclass(frozen=True, eq=False)
class QuantizationPlan:
    """What is computed with which integers.

    Attributes:
        scheme: Their types.
        ranges: Tensor -> (low, high).
        float_layers: Nodes of layers that stay float32.
    """

    scheme: Scheme
    ranges: Mapping[str, tuple[float, float]]
    float_layers: Collection[str] = ()


def with_integers(model: onnx.ModelProto, plan: QuantizationPlan) -> bytes:
    """The network as ONNX with integers.

    Args:
        model: The float32 network; left as it is.
        plan: Ranges of all tensors that integers stand for.

    Raises:
        InputError: If no layer can compute with integers, or a range is missing.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    sites = sites_of(copy)
    active = sites.active(plan.float_layers)
    if not any(site.weight for site in active):
        raise InputError("no layer of this network can compute with integers: it has no convolution or matrix product")
    writer = _Writer(copy.graph, sites, active, plan)
    writer.write()
    content: bytes = copy.SerializeToString(deterministic=True)
    return content


@dataclass
class _Writer:
    """One graph while it is rewritten."""

    graph: Any
    sites: Sites
    active: tuple[Site, ...]
    plan: QuantizationPlan
    made: list[Any] = field(default_factory=list)
    stored: dict[str, str] = field(default_factory=dict)

    def write(self) -> None:
        by_node = {site.node: site for site in self.active}
        read = {name for site in self.active for name in site.inputs}
        closed = {site.output for site in self.active if not site.open or site.output in read}
        outputs = {value.name for value in self.graph.output}
        old = list(self.graph.node)
        for value in self.graph.input:
            if value.name in read:
                self._pair(value.name, value.name)
        for node in old:
            site = by_node.get(node.output[0])
            for place, name in enumerate(node.input):
                if (name in read and site is not None and name in site.inputs) or name in closed:
                    node.input[place] = f"{name}_dq"
            if site is not None and site.weight is not None:
                self._weights(node, site)
            self.made.append(node)
            for place, name in enumerate(list(node.output)):
                if name in closed and name in outputs:  # the graph's output keeps its name
                    node.output[place] = f"{name}_float"
                    self._pair(f"{name}_float", name, last=name)
                    self.made.append(helper.make_node("Identity", [name], [f"{name}_dq"]))
                elif name in closed or name in read:
                    self._pair(name, name)
        del self.graph.node[:]
        self.graph.node.extend(self.made)
        self._drop_unread()

    def _numbers(self, name: str) -> Affine:
        own = self.sites.ranged_as(name)
        if own not in self.plan.ranges:
            raise InputError(f"there is no range for {own}")
        return activation_numbers(*self.plan.ranges[own], self.plan.scheme)

    def _pair(self, source: str, tensor: str, last: str | None = None) -> None:
        """QuantizeLinear and DequantizeLinear behind a tensor."""
        numbers = self._numbers(tensor)
        kind = np.uint8 if self.plan.scheme.activations == "u8" else np.int8
        scale = self._store(f"{tensor}_scale", np.array(numbers.scale, np.float32))
        zero = self._store(f"{tensor}_zero", np.array(numbers.zero, kind))
        self.made += [
            helper.make_node("QuantizeLinear", [source, scale, zero], [f"{tensor}_q"], f"{tensor}_q"),
            helper.make_node(
                "DequantizeLinear", [f"{tensor}_q", scale, zero], [last or f"{tensor}_dq"], f"{tensor}_dq"
            ),
        ]

    def _weights(self, node: Any, site: Site) -> None:
        """Weight and bias as integers, each before a DequantizeLinear."""
        weight, bias = self.sites.constants[str(site.weight)], None
        if site.bias is not None:
            bias = self.sites.constants[site.bias]
        scale = self._numbers(site.inputs[0]).scale
        found = quantized_weight(weight, site.axis, self.plan.scheme, bias, scale)
        base = site.node
        axis: dict[str, Any] = {"axis": site.axis} if self.plan.scheme.per_channel else {}
        names = [
            self._store(f"{base}_{part}", value)
            for part, value in (
                ("weight_q", found.values),
                ("weight_scale", found.scales),
                ("weight_zero", found.zeros),
            )
        ]
        self.made.append(helper.make_node("DequantizeLinear", names, [f"{base}_weight"], f"{base}_weight", **axis))
        node.input[1] = f"{base}_weight"
        if bias is not None:
            steps = quantized_bias(bias, scale, found.scales)
            scales = (np.float64(scale) * found.scales).astype(np.float32)
            names = [self._store(f"{base}_bias_q", steps), self._store(f"{base}_bias_scale", scales)]
            axis = {"axis": 0} if self.plan.scheme.per_channel else {}
            self.made.append(helper.make_node("DequantizeLinear", names, [f"{base}_bias"], f"{base}_bias", **axis))
            node.input[2] = f"{base}_bias"

    def _store(self, name: str, value: NDArray[Any]) -> str:
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _drop_unread(self) -> None:
        read = {name for node in self.graph.node for name in node.input} | {value.name for value in self.graph.output}
        while True:
            kept = [node for node in self.graph.node if read & set(node.output)]
            if len(kept) == len(self.graph.node):
                break
            del self.graph.node[:]
            self.graph.node.extend(kept)
            read = {name for node in kept for name in node.input} | {value.name for value in self.graph.output}
        weights = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(weights)
        del self.graph.value_info[:]
