"""One ONNX file that really skips: nested `If`, every branch of which owns its weights.

A weight that a branch takes from the graph around it is no constant to a runtime: it is not laid out for the processor
beforehand, and the longest path takes 1.6 to 1.9 times as long (docs/dynamic.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.onnx_nodes import (
    Inputs,
    branch,
    constant,
    inlined,
    model_bytes,
    onnx_package,
)
from autoprune.dynamic_networks.onnx_parts import exported, inputs_of
from autoprune.dynamic_networks.stages import cut_at
from autoprune.early_exit.confidence.base import ExitNodes
from autoprune.early_exit.confidence.registry import confidence_named
from autoprune.early_exit.heads import ExitHead
from autoprune.errors import AutopruneError

__all__ = ["Parts", "nested_file", "parts_of"]


@dataclass(frozen=True, eq=False)
class Parts:
    """A dynamic network as ONNX graphs of a batch of one, not yet put together.

    Attributes:
        stages: Name of the graph's inputs, numbered flat inputs behind the features -> one model a stage.
        heads: One model an exit.
        inputs: (name, element type, shape) of each of the network's inputs.
        reads: Which of the inputs each stage reads.
        classes: Logits.
        scorers: Weights and bias of each head's learned score; empty of one that has none.
    """

    stages: tuple[Any, ...]
    heads: tuple[Any, ...]
    inputs: Inputs
    reads: tuple[tuple[int, ...], ...]
    classes: int
    scorers: tuple[tuple[float, ...], ...]


def parts_of(flow: Flow, nodes: Sequence[str], heads: Sequence[ExitHead], *, for_timing: bool = False) -> Parts:
    """Export the stages between places, and the heads.

    Args:
        flow: The network.
        nodes: The values at which there are exits.
        heads: One an exit.
        for_timing: Whether the faster exporter will do.

    Raises:
        MissingExtraError: If onnx is not installed.
        UnsupportedModelError: If a part cannot be exported.
    """
    flat = flow.flat(flow.example.with_batch(1))
    stages = cut_at(flow, nodes)
    features: Tensor | None = None
    models, answering = [], []
    with torch.no_grad():
        for number, stage in enumerate(stages):
            given = stage.arguments(features, flat)
            models.append(exported(stage.module, given, for_timing=for_timing))
            features = stage(features, flat)
            if number < len(heads):
                answering.append(exported(heads[number], (features,), for_timing=for_timing))
    if features is None:
        raise AutopruneError("internal error: a network without a stage")
    reads = tuple(stage.inputs for stage in stages)
    scorers = tuple(() if head.scorer is None else _numbers_of(head.scorer) for head in heads)
    return Parts(tuple(models), tuple(answering), inputs_of(flow), reads, features.shape[1], scorers)


def _numbers_of(scorer: nn.Linear) -> tuple[float, ...]:
    return (*scorer.weight[0].tolist(), *scorer.bias.tolist())


def nested_file(parts: Parts, confidence: str, thresholds: Sequence[float]) -> bytes:
    """Put parts together to one model; its inputs are the network's, and `threshold_0`, ... with these defaults.

    Its outputs are the logits (1, classes), and the exit that was taken.

    Args:
        parts: The stages and heads.
        confidence: Its kind.
        thresholds: One an exit.
    """
    nodes, initializers = _from_stage(parts, confidence, 0)
    return model_bytes(nodes, initializers, parts.inputs, thresholds, parts.classes)


def _from_stage(parts: Parts, confidence: str, number: int) -> tuple[list[Any], list[Any]]:
    """Nodes and weights from a stage on: logits_N and exit_N are what they leave."""
    helper = onnx_package().helper
    sources = [] if number == 0 else [f"features_{number - 1}"]
    sources += [parts.inputs[each][0] for each in parts.reads[number]]
    last = number == len(parts.heads)
    nodes, weights = inlined(
        parts.stages[number], f"s{number}_", sources, f"logits_{number}" if last else f"features_{number}"
    )
    if last:
        nodes.append(constant(f"exit_{number}", number))
        return nodes, weights
    answer, more = inlined(parts.heads[number], f"h{number}_", [f"features_{number}"], f"answer_{number}")
    kind = confidence_named(confidence)
    before = f"sure_{number - 1}_carried" if kind.carries and number else ""
    at = ExitNodes(f"answer_{number}", f"sure_{number}", parts.scorers[number], before)
    nodes += [*answer, *kind.nodes(at)]
    nodes += [
        helper.make_node("GreaterOrEqual", [f"sure_{number}", f"threshold_{number}"], [f"leaves_{number}"]),
    ]
    left = [helper.make_node("Identity", [f"answer_{number}"], [f"left_{number}"]), constant(f"at_{number}", number)]
    leave = branch(left, [], (f"left_{number}", f"at_{number}"), parts.classes)
    inner, owned = _from_stage(parts, confidence, number + 1)
    stay = branch(inner, owned, (f"logits_{number + 1}", f"exit_{number + 1}"), parts.classes)
    outputs = [f"logits_{number}", f"exit_{number}"]
    nodes.append(helper.make_node("If", [f"leaves_{number}"], outputs, then_branch=leave, else_branch=stay))
    return nodes, [*weights, *more]
