"""The network that skips as one ONNX file: an `If` for every gated block, which owns its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.onnx_nodes import Inputs, constant, inlined, model_bytes, onnx_package
from autoprune.dynamic_networks.onnx_parts import exported, inputs_of
from autoprune.gating.gate import BlockGate
from autoprune.gating.network import Segment

__all__ = ["SkipParts", "skip_file", "skip_parts"]


@dataclass(frozen=True, eq=False)
class SkipParts:
    """The network as ONNX graphs of a batch of one, not yet put together.

    Attributes:
        segments: The network's parts.
        models: One a segment.
        gates: One a block.
        shapes: Of the value behind each segment, the batch included.
        inputs: Name, element type and shape of each of the network's inputs.
    """

    segments: tuple[Segment, ...]
    models: tuple[Any, ...]
    gates: tuple[Any, ...]
    shapes: tuple[tuple[int, ...], ...]
    inputs: Inputs

    def read(self, number: int) -> Inputs:
        """What a segment reads of the network's inputs."""
        return tuple(self.inputs[each] for each in self.segments[number].stage.inputs)


def skip_parts(
    flow: Flow, segments: Sequence[Segment], gates: Sequence[BlockGate], *, for_timing: bool = False
) -> SkipParts:
    """Export the parts.

    Args:
        flow: The network.
        segments: Its parts.
        gates: One a block.
        for_timing: Whether the faster exporter will do.

    Raises:
        MissingExtraError: If onnx is not installed.
        UnsupportedModelError: If a part cannot be exported.
    """
    flat = flow.flat(flow.example.with_batch(1))
    features: Tensor | None = None
    models: list[Any] = []
    asked: list[Any] = []
    shapes: list[tuple[int, ...]] = []

    with torch.no_grad():
        for segment in segments:
            if segment.block is not None:
                asked.append(exported(gates[len(asked)], (features,), for_timing=for_timing))
            given = segment.stage.arguments(features, flat)
            models.append(exported(segment.stage.module, given, for_timing=for_timing))
            features = segment.stage(features, flat)
            shapes.append(tuple(features.shape))
    return SkipParts(tuple(segments), tuple(models), tuple(asked), tuple(shapes), inputs_of(flow))


def skip_file(parts: SkipParts, thresholds: Sequence[float]) -> bytes:
    """Put parts together; the inputs are the network's, and `threshold_0`, ... with these defaults.

    The outputs are the logits (1, classes), and the number of blocks that were computed.

    Args:
        parts: The exported parts.
        thresholds: One a block.
    """
    helper = onnx_package().helper
    nodes: list[Any] = [constant("one", 1)]
    weights: list[Any] = []
    features, opened = "", [constant("opened", 0)]
    for number, segment in enumerate(parts.segments):
        found, own = _segment(parts, number, features, len(opened) - 1)
        nodes += found
        weights += own
        features = f"features_{number}"
        if segment.block is not None:
            gate = len(opened) - 1
            before = "opened" if gate == 0 else f"opened_{gate - 1}"
            opened.append(helper.make_node("Add", [before, f"open_{gate}"], [f"opened_{gate}"]))
    ends = [
        helper.make_node("Identity", [features], ["logits_0"]),
        helper.make_node("Identity", [f"opened_{len(opened) - 2}"], ["exit_0"]),
    ]
    return model_bytes([*nodes, *opened, *ends], weights, parts.inputs, thresholds, parts.shapes[-1][1])


def _segment(parts: SkipParts, number: int, features: str, gate: int) -> tuple[list[Any], list[Any]]:
    """Nodes and weights that leave `features_N`; of a block `open_K` too."""
    segment = parts.segments[number]
    sources = [] if segment.stage.first else [features]
    sources += [each[0] for each in parts.read(number)]
    if segment.block is None:
        return inlined(parts.models[number], f"s{number}_", sources, f"features_{number}")
    helper = onnx_package().helper
    nodes, weights = inlined(parts.gates[gate], f"g{gate}_", [features], f"score_{gate}")
    nodes += [
        helper.make_node("Reshape", [f"score_{gate}", "one"], [f"sure_{gate}"]),
        helper.make_node("Less", [f"sure_{gate}", f"threshold_{gate}"], [f"skips_{gate}"]),
    ]
    computed, owned = inlined(parts.models[number], f"s{number}_", sources, f"computed_{number}")
    whole = _branch(
        [*computed, constant(f"ran_{gate}", 1)], owned, (f"computed_{number}", f"ran_{gate}"), parts, number
    )
    kind = "Relu" if segment.block.relu else "Identity"
    rest = [helper.make_node(kind, [features], [f"kept_{number}"]), constant(f"none_{gate}", 0)]
    left = _branch(rest, [], (f"kept_{number}", f"none_{gate}"), parts, number)
    outputs = [f"features_{number}", f"open_{gate}"]
    nodes.append(helper.make_node("If", [f"skips_{gate}"], outputs, then_branch=left, else_branch=whole))
    return nodes, weights


def _branch(nodes: list[Any], weights: list[Any], outputs: tuple[str, str], parts: SkipParts, number: int) -> Any:
    helper, kinds = onnx_package().helper, onnx_package().TensorProto
    values = [
        helper.make_tensor_value_info(outputs[0], kinds.FLOAT, parts.shapes[number]),
        helper.make_tensor_value_info(outputs[1], kinds.INT64, [1]),
    ]
    return helper.make_graph(nodes, f"branch_{outputs[0]}", [], values, weights)
