"""One ONNX file that really skips: nested `If`, every branch of which owns its weights.

A weight that a branch takes from the graph around it is no constant to a runtime: it is not laid out for the processor
beforehand, and the longest path takes 1.6 to 1.9 times as long (docs/dynamic.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.early_exit.flow import Flow
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.stages import cut_at
from autoprune.errors import AutopruneError, MissingExtraError
from autoprune.export.onnx import to_onnx, to_onnx_for_timing
from autoprune.export.opset import OPSET

__all__ = ["DEPLOYED", "EXIT_OUTPUT", "Parts", "captured_weights", "nested_file", "parts_of"]

EXIT_OUTPUT = "exit"
"""The second output: which exit was taken, int64 (1,)."""


@dataclass(frozen=True, eq=False)
class Parts:
    """A dynamic network as ONNX graphs of a batch of one, not yet put together.

    Attributes:
        stages: Name of the graph's inputs, numbered flat inputs behind the features -> one model a stage.
        heads: One model an exit.
        inputs: (name, element type, shape) of each of the network's inputs.
        reads: Which of the inputs each stage reads.
        classes: Logits.
    """

    stages: tuple[Any, ...]
    heads: tuple[Any, ...]
    inputs: tuple[tuple[str, int, tuple[int, ...]], ...]
    reads: tuple[tuple[int, ...], ...]
    classes: int


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
    onnx = _onnx()
    export: Callable[[nn.Module, Any], bytes] = to_onnx_for_timing if for_timing else to_onnx
    single = flow.example.with_batch(1)
    flat = flow.flat(single)
    stages = cut_at(flow, nodes)
    features: Tensor | None = None
    models, answering = [], []
    with torch.no_grad():
        for number, stage in enumerate(stages):
            given = stage.arguments(features, flat)
            models.append(onnx.load_from_string(export(stage.module, given)))
            features = stage(features, flat)
            if number < len(heads):
                answering.append(onnx.load_from_string(export(heads[number], (features,))))
    if features is None:
        raise AutopruneError("internal error: a network without a stage")
    inputs = tuple(
        (node.name, onnx.helper.np_dtype_to_tensor_dtype(value.numpy().dtype), tuple(value.shape))
        for node, value in zip(flow.placeholders, flat, strict=True)
        if isinstance(value, Tensor)
    )
    return Parts(tuple(models), tuple(answering), inputs, tuple(stage.inputs for stage in stages), features.shape[1])


def nested_file(parts: Parts, confidence: str, thresholds: Sequence[float]) -> bytes:
    """Put parts together to one model; its inputs are the network's, and `threshold_0`, ... with these defaults.

    Its outputs are the logits (1, classes), and the exit that was taken.

    Args:
        parts: The stages and heads.
        confidence: Its kind.
        thresholds: One an exit.
    """
    onnx = _onnx()
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes, initializers = _from_stage(parts, confidence, 0)
    names = [f"threshold_{number}" for number in range(len(thresholds))]
    defaults = [helper.make_tensor(name, kinds.FLOAT, [1], [t]) for name, t in zip(names, thresholds, strict=True)]
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in parts.inputs]
    inputs += [helper.make_tensor_value_info(name, kinds.FLOAT, [1]) for name in names]
    outputs = [
        helper.make_tensor_value_info("logits_0", kinds.FLOAT, [1, parts.classes]),
        helper.make_tensor_value_info("exit_0", kinds.INT64, [1]),
    ]
    nodes += [
        helper.make_node("Identity", ["logits_0"], ["logits"]),
        helper.make_node("Identity", ["exit_0"], [EXIT_OUTPUT]),
    ]
    outputs[0].name, outputs[1].name = "logits", EXIT_OUTPUT
    graph = helper.make_graph(nodes, "dynamic", inputs, outputs, [*defaults, *initializers])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def captured_weights(content: bytes) -> list[str]:
    """Weights of more than one number that a branch of a model takes from a graph around it: there should be none."""
    model = _onnx().load_from_string(content)
    found: list[str] = []

    def look(graph: Any, outer: frozenset[str]) -> None:
        own = {each.name for each in graph.initializer if _numbers(each) > 1}
        for node in graph.node:
            found.extend(name for name in node.input if name in outer)
            for branch in _branches(node):
                look(branch, outer | own)

    look(model.graph, frozenset())
    return found


def _numbers(tensor: Any) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return count


def _branches(node: Any) -> Iterable[Any]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _from_stage(parts: Parts, confidence: str, number: int) -> tuple[list[Any], list[Any]]:
    """Nodes and weights from a stage on: logits_N and exit_N are what they leave."""
    helper, kinds = _onnx().helper, _onnx().TensorProto
    sources = [] if number == 0 else [f"features_{number - 1}"]
    sources += [parts.inputs[each][0] for each in parts.reads[number]]
    last = number == len(parts.heads)
    nodes, weights = _inlined(
        parts.stages[number], f"s{number}_", sources, f"logits_{number}" if last else f"features_{number}"
    )
    if last:
        nodes.append(_constant(f"exit_{number}", number))
        return nodes, weights
    answer, more = _inlined(parts.heads[number], f"h{number}_", [f"features_{number}"], f"answer_{number}")
    nodes += [*answer, *_CONFIDENCES[confidence](f"answer_{number}", f"sure_{number}")]
    nodes += [
        helper.make_node("GreaterOrEqual", [f"sure_{number}", f"threshold_{number}"], [f"leaves_{number}"]),
    ]
    leave = helper.make_graph(
        [helper.make_node("Identity", [f"answer_{number}"], [f"left_{number}"]), _constant(f"at_{number}", number)],
        f"leave_{number}",
        [],
        [
            helper.make_tensor_value_info(f"left_{number}", kinds.FLOAT, [1, parts.classes]),
            helper.make_tensor_value_info(f"at_{number}", kinds.INT64, [1]),
        ],
    )
    inner, owned = _from_stage(parts, confidence, number + 1)
    stay = helper.make_graph(
        inner,
        f"stay_{number}",
        [],
        [
            helper.make_tensor_value_info(f"logits_{number + 1}", kinds.FLOAT, [1, parts.classes]),
            helper.make_tensor_value_info(f"exit_{number + 1}", kinds.INT64, [1]),
        ],
        owned,
    )
    outputs = [f"logits_{number}", f"exit_{number}"]
    nodes.append(helper.make_node("If", [f"leaves_{number}"], outputs, then_branch=leave, else_branch=stay))
    return nodes, [*weights, *more]


def _inlined(model: Any, prefix: str, sources: Sequence[str], result: str) -> tuple[list[Any], list[Any]]:
    """The nodes and weights of a model under names of their own, reading values of the graph around them."""
    onnx = _onnx()
    if len(model.functions):
        model = onnx.inliner.inline_local_functions(model)
    graph = onnx.compose.add_prefix(model, prefix).graph
    weights = {each.name for each in graph.initializer}
    inputs = [each.name for each in graph.input if each.name not in weights]
    if len(inputs) != len(sources):
        raise AutopruneError(f"internal error: an exported part has {len(inputs)} inputs, not {len(sources)}")
    helper = onnx.helper
    before = [helper.make_node("Identity", [outer], [own]) for outer, own in zip(sources, inputs, strict=True)]
    after = helper.make_node("Identity", [graph.output[0].name], [result])
    return [*before, *graph.node, after], list(graph.initializer)


def _constant(name: str, number: int) -> Any:
    helper, kinds = _onnx().helper, _onnx().TensorProto
    return helper.make_node(
        "Constant", [], [name], value=helper.make_tensor(f"{name}_value", kinds.INT64, [1], [number])
    )


def _most_likely(logits: str, result: str) -> list[Any]:
    helper = _onnx().helper
    return [
        helper.make_node("Softmax", [logits], [f"{result}_p"], axis=1),
        helper.make_node("ReduceMax", [f"{result}_p"], [f"{result}_m"], keepdims=0),
        _shape(f"{result}_shape"),
        helper.make_node("Reshape", [f"{result}_m", f"{result}_shape"], [result]),
    ]


def _margin(logits: str, result: str) -> list[Any]:
    helper = _onnx().helper
    return [
        helper.make_node("Softmax", [logits], [f"{result}_p"], axis=1),
        _constant(f"{result}_two", 2),
        helper.make_node("TopK", [f"{result}_p", f"{result}_two"], [f"{result}_top", f"{result}_at"], axis=1),
        helper.make_node("Split", [f"{result}_top"], [f"{result}_a", f"{result}_b"], axis=1, num_outputs=2),
        helper.make_node("Sub", [f"{result}_a", f"{result}_b"], [f"{result}_d"]),
        _shape(f"{result}_shape"),
        helper.make_node("Reshape", [f"{result}_d", f"{result}_shape"], [result]),
    ]


def _shape(name: str) -> Any:
    """The shape of one number a sample, for a batch of one."""
    return _constant(name, 1)


_CONFIDENCES: dict[str, Callable[[str, str], list[Any]]] = {"max": _most_likely, "margin": _margin}

DEPLOYED = tuple(_CONFIDENCES)
"""The kinds of confidence that a file can have."""


def _onnx() -> Any:
    try:
        import onnx
        import onnx.compose
        import onnx.helper
        import onnx.inliner
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    return onnx
