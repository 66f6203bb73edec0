"""The network of several widths as one ONNX file: an `If` for every width, whose branches own their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.onnx_nodes import Inputs, branch, constant, inlined, model_bytes, onnx_package
from autoprune.dynamic_networks.onnx_parts import exported, inputs_of
from autoprune.dynamic_networks.stages import Stage, cut_at
from autoprune.switching.gate import WidthGate

__all__ = ["WidthParts", "switch_file", "width_parts"]


@dataclass(frozen=True, eq=False)
class WidthParts:
    """The network as ONNX graphs of a batch of one, not yet put together.

    Attributes:
        trunk, gate: One model each.
        tails: One for every width, the whole network's last.
        inputs: Name, element type and shape of each of the network's inputs.
        reads: Which of the inputs the trunk reads, then each tail.
        classes: Logits.
    """

    trunk: Any
    gate: Any
    tails: tuple[Any, ...]
    inputs: Inputs
    reads: tuple[tuple[int, ...], ...]
    classes: int


def width_parts(
    flow: Flow, node: str, gate: WidthGate, narrow: Sequence[Stage], *, for_timing: bool = False
) -> WidthParts:
    """Export the parts.

    Args:
        flow: The dense network.
        node: The value at which the trunk ends.
        gate: A score for every narrow width.
        narrow: Their parts behind the trunk, from the narrowest on.
        for_timing: Whether the faster exporter will do.

    Raises:
        MissingExtraError: If onnx is not installed.
        UnsupportedModelError: If a part cannot be exported.
    """
    trunk, whole = cut_at(flow, [node])
    flat = flow.flat(flow.example.with_batch(1))
    tails = (*narrow, whole)

    def own(module: nn.Module, given: tuple[Any, ...]) -> Any:
        return exported(module, given, for_timing=for_timing)

    with torch.no_grad():
        features: Tensor = trunk(None, flat)
        classes = whole(features, flat).shape[1]
        models = tuple(own(tail.module, tail.arguments(features, flat)) for tail in tails)
        first, second = own(trunk.module, trunk.arguments(None, flat)), own(gate, (features,))
    reads = tuple(stage.inputs for stage in (trunk, *tails))
    return WidthParts(first, second, models, inputs_of(flow), reads, classes)


def switch_file(parts: WidthParts, thresholds: Sequence[float]) -> bytes:
    """Put parts together; the inputs are the network's, and `threshold_0`, ... with these defaults.

    The outputs are the logits (1, classes), and the number of the width that was taken.

    Args:
        parts: The exported parts.
        thresholds: One a narrow width.
    """
    nodes, weights = inlined(parts.trunk, "trunk_", _sources(parts, 0), "features")
    scores, more = inlined(parts.gate, "gate_", ["features"], "scores")
    inner, owned = _from_width(parts, 0)
    content = [*nodes, *scores, constant("one", 1), *inner]
    return model_bytes(content, [*weights, *more, *owned], parts.inputs, thresholds, parts.classes)


def _sources(parts: WidthParts, stage: int) -> list[str]:
    return [parts.inputs[each][0] for each in parts.reads[stage]]


def _from_width(parts: WidthParts, number: int) -> tuple[list[Any], list[Any]]:
    """Nodes and weights that leave logits_N and exit_N: of this width, or of a wider one."""
    helper = onnx_package().helper
    if number == len(parts.tails) - 1:
        return _tail(parts, number, (f"logits_{number}", f"exit_{number}"))
    nodes = [
        constant(f"at_{number}", number),
        helper.make_node("Gather", ["scores", f"at_{number}"], [f"score_{number}"], axis=1),
        helper.make_node("Reshape", [f"score_{number}", "one"], [f"sure_{number}"]),
        helper.make_node("GreaterOrEqual", [f"sure_{number}", f"threshold_{number}"], [f"fits_{number}"]),
    ]
    own, other = (f"logits_of_{number}", f"exit_of_{number}"), (f"logits_{number + 1}", f"exit_{number + 1}")
    narrow = branch(*_tail(parts, number, own), own, parts.classes)
    wider = branch(*_from_width(parts, number + 1), other, parts.classes)
    outputs = [f"logits_{number}", f"exit_{number}"]
    nodes.append(helper.make_node("If", [f"fits_{number}"], outputs, then_branch=narrow, else_branch=wider))
    return nodes, []


def _tail(parts: WidthParts, number: int, outputs: tuple[str, str]) -> tuple[list[Any], list[Any]]:
    sources = ["features", *_sources(parts, number + 1)]
    nodes, weights = inlined(parts.tails[number], f"w{number}_", sources, outputs[0])
    return [*nodes, constant(outputs[1], number)], weights
