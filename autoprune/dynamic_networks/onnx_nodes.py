"""Pieces of ONNX files that really skip: parts put into one graph, branches that own their weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from autoprune.errors import AutopruneError, MissingExtraError
from autoprune.export.opset import OPSET

__all__ = [
    "EXIT_OUTPUT",
    "Inputs",
    "branch",
    "captured_weights",
    "constant",
    "inlined",
    "model_bytes",
    "numbers",
    "onnx_package",
    "with_thresholds",
]

Inputs = tuple[tuple[str, int, tuple[int, ...]], ...]
"""Name, element type and shape of each input of a network."""

EXIT_OUTPUT = "exit"
"""The second output: which path was taken, int64 (1,)."""


def model_bytes(
    nodes: Sequence[Any], weights: Sequence[Any], inputs: Inputs, thresholds: Sequence[float], classes: int
) -> bytes:
    """A model of nodes that leave `logits_0` and `exit_0`.

    Its inputs are the network's, and `threshold_0`, ... with these defaults; its outputs the logits (1, classes), and
    the path that was taken.

    Args:
        nodes: In order.
        weights: Of the outermost graph.
        inputs: Of the network.
        thresholds: Defaults.
        classes: Logits.
    """
    onnx = onnx_package()
    helper, kinds = onnx.helper, onnx.TensorProto
    names = [f"threshold_{number}" for number in range(len(thresholds))]
    defaults = [helper.make_tensor(name, kinds.FLOAT, [1], [t]) for name, t in zip(names, thresholds, strict=True)]
    given = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    given += [helper.make_tensor_value_info(name, kinds.FLOAT, [1]) for name in names]
    ends = [
        helper.make_node("Identity", ["logits_0"], ["logits"]),
        helper.make_node("Identity", ["exit_0"], [EXIT_OUTPUT]),
    ]
    outputs = _outputs(("logits", EXIT_OUTPUT), classes)
    graph = helper.make_graph([*nodes, *ends], "dynamic", given, outputs, [*defaults, *weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def with_thresholds(content: bytes, level: float) -> bytes:
    """The same file with one default for all its thresholds, such as one that all inputs pass, or none.

    Args:
        content: What `model_bytes` gave.
        level: The default.
    """
    model = onnx_package().load_from_string(content)
    for each in model.graph.initializer:
        if each.name.startswith("threshold_"):
            each.CopyFrom(onnx_package().helper.make_tensor(each.name, each.data_type, [1], [level]))
    changed: bytes = model.SerializeToString()
    return changed


def branch(nodes: Sequence[Any], weights: Sequence[Any], outputs: tuple[str, str], classes: int) -> Any:
    """A branch of an `If` that leaves logits and the path, and owns its weights."""
    return onnx_package().helper.make_graph(
        list(nodes), f"branch_{outputs[0]}", [], _outputs(outputs, classes), weights
    )


def _outputs(names: tuple[str, str], classes: int) -> list[Any]:
    helper, kinds = onnx_package().helper, onnx_package().TensorProto
    logits, path = names
    return [
        helper.make_tensor_value_info(logits, kinds.FLOAT, [1, classes]),
        helper.make_tensor_value_info(path, kinds.INT64, [1]),
    ]


def captured_weights(content: bytes) -> list[str]:
    """Weights of more than one number that a branch of a model takes from a graph around it: there should be none."""
    model = onnx_package().load_from_string(content)
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


def inlined(model: Any, prefix: str, sources: Sequence[str], result: str) -> tuple[list[Any], list[Any]]:
    """The nodes and weights of a model under names of their own, reading values of the graph around them."""
    onnx = onnx_package()
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


def constant(name: str, number: int) -> Any:
    """A node that leaves one whole number, int64 (1,)."""
    helper, kinds = onnx_package().helper, onnx_package().TensorProto
    return helper.make_node(
        "Constant", [], [name], value=helper.make_tensor(f"{name}_value", kinds.INT64, [1], [number])
    )


def numbers(name: str, values: Sequence[float]) -> Any:
    """A node that leaves a few numbers, float32 (len(values),)."""
    helper, kinds = onnx_package().helper, onnx_package().TensorProto
    value = helper.make_tensor(f"{name}_value", kinds.FLOAT, [len(values)], list(values))
    return helper.make_node("Constant", [], [name], value=value)


def onnx_package() -> Any:
    """The package.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import onnx
        import onnx.compose
        import onnx.helper
        import onnx.inliner
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    return onnx
