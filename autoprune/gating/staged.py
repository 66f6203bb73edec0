"""A network that skips as one ONNX file for every gate, with what is computed before it, and one for every block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoprune.dynamic_networks.onnx_nodes import inlined, onnx_package
from autoprune.dynamic_networks.staged import Branch, StageFile, Step, answering_stage, stage_model, value_like
from autoprune.gating.onnx_file import SkipParts

__all__ = ["skip_stages"]


def skip_stages(parts: SkipParts, thresholds: Sequence[float]) -> list[StageFile]:
    """The stages of a network that skips; the path is the number of blocks that are computed.

    A gate's stage leaves `sure`, its score (1, 1), and `passed`, which is the block's `features`; behind a skipped
    block the next stage's `features` are `passed` as well, or `left` where only what is positive remains. It computes
    what lies between the block before and this one, too. A block's stage leaves `passed`, and the last one the logits.

    Args:
        parts: The exported parts.
        thresholds: One a block.
    """
    found: list[StageFile] = []
    between: int | None = None
    for number, segment in enumerate(parts.segments):
        if segment.block is None:
            between = number
            continue
        gate = len(found) // 2
        found += [_gate(parts, gate, number, between, thresholds[gate]), _block(parts, number, len(found) + 2)]
        between = None
    last = len(parts.segments) - 1
    return [*found, answering_stage(parts.models[last], parts.read(last), parts.shapes[-1][1])]


def _gate(parts: SkipParts, gate: int, number: int, between: int | None, threshold: float) -> StageFile:
    """The gate of a segment that is a block, behind the segment between it and the block before, if there is one."""
    helper, asks = onnx_package().helper, parts.gates[gate]
    features = [] if between is not None and parts.segments[between].stage.first else ["features"]
    read = () if between is None else parts.read(between)
    names = tuple(each[0] for each in read)
    if between is None:
        nodes, weights = [helper.make_node("Identity", ["features"], ["passed"])], list[Any]()
        before = asks.graph.input[0]
    else:
        nodes, weights = inlined(parts.models[between], "stage_", [*features, *names], "passed")
        before = parts.models[between].graph.input[0]
    score, more = inlined(asks, "gate_", ["passed"], "sure")
    outputs = [value_like(asks.graph.output[0], "sure"), value_like(asks.graph.input[0], "passed")]
    block, rest = parts.segments[number].block, "passed"
    if block is not None and block.relu:
        rest = "left"
        nodes.append(helper.make_node("Relu", ["passed"], [rest]))
        outputs.append(value_like(asks.graph.input[0], rest))
    passed = [value_like(before, name) for name in features]
    model = stage_model([*nodes, *score], [*weights, *more], passed, read, outputs)
    computes, skips = 2 * gate + 1, 2 * gate + 2
    return StageFile(
        model,
        names,
        Step(computes, path=1, passes={"passed": "features"}),
        (Branch(Step(skips, passes={rest: "features"}), threshold, below=True),),
    )


def _block(parts: SkipParts, number: int, following: int) -> StageFile:
    read, graph = parts.read(number), parts.models[number].graph
    names = tuple(each[0] for each in read)
    nodes, weights = inlined(parts.models[number], "stage_", ["features", *names], "passed")
    outputs = [value_like(graph.output[0], "passed")]
    model = stage_model(nodes, weights, [value_like(graph.input[0], "features")], read, outputs)
    return StageFile(model, names, Step(following, passes={"passed": "features"}))
