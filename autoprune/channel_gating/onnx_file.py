"""Gated channels as one ONNX file that computes only the chosen ones: it gathers their weights for every input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autoprune.channel_gating.pairs import ChannelPair
from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.onnx_nodes import Inputs, constant, inlined, model_bytes, onnx_package
from autoprune.dynamic_networks.onnx_parts import exported, inputs_of
from autoprune.dynamic_networks.stages import cut_at
from autoprune.errors import UnsupportedModelError
from autoprune.gating.gate import BlockGate

__all__ = ["ChannelParts", "channel_file", "channel_parts", "narrow_file"]


@dataclass(frozen=True, eq=False)
class ChannelParts:
    """The network as ONNX graphs of a batch of one, not yet put together.

    Attributes:
        whole: The network, BatchNorm folded.
        pairs: With gates.
        gates: One model a pair.
        inputs: Name, element type and shape of each of the network's inputs.
        reads: Which of them it reads.
        classes: Logits.
    """

    whole: Any
    pairs: tuple[ChannelPair, ...]
    gates: tuple[Any, ...]
    inputs: Inputs
    reads: tuple[int, ...]
    classes: int

    def only(self, numbers: Sequence[int]) -> ChannelParts:
        """With some of the pairs."""
        pairs, gates = (tuple(each[k] for k in numbers) for each in (self.pairs, self.gates))
        return ChannelParts(self.whole, pairs, gates, self.inputs, self.reads, self.classes)


def channel_parts(flow: Flow, pairs: Sequence[ChannelPair], gates: Sequence[BlockGate]) -> ChannelParts:
    """Export the network and its gates.

    Args:
        flow: The network.
        pairs: With gates.
        gates: One a pair.

    Raises:
        MissingExtraError: If onnx is not installed.
        UnsupportedModelError: If a part cannot be exported, or the exported network lacks a convolution.
    """
    whole = cut_at(flow, [])[0]
    given = whole.arguments(None, flow.flat(flow.example.with_batch(1)))
    model = exported(whole.module, given)
    known = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    missing = [name for pair in pairs for name in (pair.first, pair.second) if name not in known]
    if missing or any(node.op_type == "BatchNormalization" for node in model.graph.node):
        raise UnsupportedModelError(
            "the network is exported in another form than it was traced in: convolutions are missing"
        )
    with torch.no_grad():
        asked = [exported(gate, (torch.zeros(1, *gate.shape),)) for gate in gates]
        classes = whole.module(*given).shape[1]
    return ChannelParts(model, tuple(pairs), tuple(asked), inputs_of(flow), whole.inputs, classes)


def channel_file(
    parts: ChannelParts, caps: Sequence[int], threshold: float, forced: Sequence[int] | None = None
) -> bytes:
    """Put parts together; the inputs are the network's, and `threshold_0` with this default.

    The outputs are the logits (1, classes), and the share of the gated channels that is kept, in tenths, rounded up,
    minus one.

    Args:
        parts: The exported parts.
        caps: Channels that each pair keeps at most.
        threshold: Score from which a channel is kept.
        forced: Channels that each pair keeps whatever their scores, the best ones.
    """
    helper = onnx_package().helper
    nodes, weights = _whole(parts)
    by_output = {node.output[0]: node for node in nodes}
    before: dict[str, list[Any]] = {}
    for number, pair in enumerate(parts.pairs):
        first, second = by_output[f"net_{pair.first}"], by_output[f"net_{pair.second}"]
        score, owned = inlined(parts.gates[number], f"g{number}_", [first.input[0]], f"score_{number}")
        weights += owned
        chosen = _chosen(number, caps[number], None if forced is None else forced[number])
        before[first.output[0]] = [*score, *chosen, *_gathered(number, first, second)]
    ordered = [each for node in nodes for each in (*before.get(node.output[0], ()), node)]
    total = sum(pair.width for pair in parts.pairs)
    ends = [
        helper.make_node("Sum", [f"float_{number}" for number in range(len(parts.pairs))], ["all_kept"]),
        helper.make_node("Cast", ["all_kept"], ["kept"], to=onnx_package().TensorProto.INT64),
        constant("ten", 10),
        constant("rest", total - 1),
        constant("total", total),
        helper.make_node("Mul", ["kept", "ten"], ["ten_kept"]),
        helper.make_node("Add", ["ten_kept", "rest"], ["raised"]),
        helper.make_node("Div", ["raised", "total"], ["tenths"]),
        helper.make_node("Sub", ["tenths", "one"], ["exit_0"]),
    ]
    return model_bytes([constant("one", 1), *ordered, *ends], weights, parts.inputs, [threshold], parts.classes)


def narrow_file(parts: ChannelParts, kept: Sequence[int]) -> bytes:
    """A static network of the same convolutions with so many channels between each pair: what the runtime prepares.

    Args:
        parts: The exported parts; gates are left out.
        kept: Channels of each pair, the first ones.
    """
    onnx = onnx_package()
    nodes, weights = _whole(parts)
    by_output, values = {node.output[0]: node for node in nodes}, {each.name: each for each in weights}
    for pair, count in zip(parts.pairs, kept, strict=True):
        first, second = by_output[f"net_{pair.first}"], by_output[f"net_{pair.second}"]
        for node, place, cut in ((first, 1, np.s_[:count]), (first, 2, np.s_[:count]), (second, 1, np.s_[:, :count])):
            if len(node.input) > place:
                name = f"narrow_{node.input[place]}"
                array = onnx.numpy_helper.to_array(values[node.input[place]])[cut]
                weights.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
                values[name] = weights[-1]
                node.input[place] = name
    return model_bytes([*nodes, constant("exit_0", 0)], weights, parts.inputs, [], parts.classes)


def _whole(parts: ChannelParts) -> tuple[list[Any], list[Any]]:
    return inlined(parts.whole, "net_", [parts.inputs[each][0] for each in parts.reads], "logits_0")


def _chosen(number: int, cap: int, forced: int | None) -> list[Any]:
    """Nodes that leave the chosen channels, `at_K`, and how many they are, `float_K`."""
    onnx, helper = onnx_package(), onnx_package().helper
    names = {name: f"{name}_{number}" for name in ("score", "flat", "best", "places", "below", "reach", "keep", "at")}
    flags = np.zeros(cap, bool)
    flags[: forced or 1] = True
    first = helper.make_node(
        "Constant", [], [f"first_{number}"], value=onnx.numpy_helper.from_array(flags, f"first_{number}_value")
    )
    return [
        constant(f"flatten_{number}", -1),
        helper.make_node("Reshape", [names["score"], f"flatten_{number}"], [names["flat"]]),
        constant(f"cap_{number}", cap),
        helper.make_node("TopK", [names["flat"], f"cap_{number}"], [names["best"], names["places"]], axis=0),
        helper.make_node("Less", [names["best"], "threshold_0"], [names["below"]]),
        helper.make_node("Not", [names["below"]], [names["reach"]]),
        first,
        helper.make_node("Or" if forced is None else "And", [names["reach"], f"first_{number}"], [names["keep"]]),
        helper.make_node("Compress", [names["places"], names["keep"]], [names["at"]], axis=0),
        helper.make_node("Shape", [names["at"]], [f"kept_{number}"]),
        helper.make_node("Cast", [f"kept_{number}"], [f"float_{number}"], to=onnx.TensorProto.FLOAT),
    ]


def _gathered(number: int, first: Any, second: Any) -> list[Any]:
    """Nodes that gather the weights of the chosen channels, which the two convolutions then read."""
    helper = onnx_package().helper
    nodes = []
    for name, node, place, axis in (("w", first, 1, 0), ("b", first, 2, 0), ("v", second, 1, 1)):
        if len(node.input) > place:
            nodes.append(
                helper.make_node("Gather", [node.input[place], f"at_{number}"], [f"{name}_{number}"], axis=axis)
            )
            node.input[place] = f"{name}_{number}"
    return nodes
