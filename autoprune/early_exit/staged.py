"""The same network as one ONNX file a stage, and what a router needs to run them: for runtimes without `If`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoprune.dynamic_networks.onnx_nodes import inlined, onnx_package
from autoprune.early_exit.confidence.base import ExitNodes
from autoprune.early_exit.confidence.registry import confidence_named
from autoprune.early_exit.onnx_file import Parts
from autoprune.export.opset import OPSET
from autoprune.foundations.files import replacing, write_json

__all__ = ["STAGES", "save_stages", "stage_file"]

STAGES = "stages"
"""The folder of a run."""


def stage_file(parts: Parts, confidence: str, number: int) -> bytes:
    """One stage as a model: `features` of the stage before and the network's inputs go in.

    The outputs are the logits of its exit, `sure`, the confidence (1,), and `passed`, which is the next stage's
    `features`; the last stage has the network's logits alone. A confidence that depends on the exits before has
    `sure_carried` behind them, which is the next exit's `carried`.

    Args:
        parts: The stages and heads.
        confidence: Its kind.
        number: Of the stage.
    """
    onnx = onnx_package()
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = parts.stages[number].graph
    read = [parts.inputs[each] for each in parts.reads[number]]
    last = number == len(parts.heads)
    kind = confidence_named(confidence)
    features = [_value(graph.input[0], "features")] if number else []
    given = [*features, *(helper.make_tensor_value_info(*each) for each in read)]
    sources = [value.name for value in given]
    before = "carried" if number and not last and kind.carries else ""
    if before:
        given.append(helper.make_tensor_value_info(before, kinds.FLOAT, [kind.carries]))
    nodes, weights = inlined(parts.stages[number], "stage_", sources, "logits" if last else "passed")
    outputs = [helper.make_tensor_value_info("logits", kinds.FLOAT, [1, parts.classes])]
    if not last:
        answer, more = inlined(parts.heads[number], "head_", ["passed"], "logits")
        sure = kind.nodes(ExitNodes("logits", "sure", parts.scorers[number], before))
        nodes, weights = [*nodes, *answer, *sure], [*weights, *more]
        outputs += [helper.make_tensor_value_info("sure", kinds.FLOAT, [1]), _value(graph.output[0], "passed")]
        if kind.carries and number + 1 < len(parts.heads):
            outputs.append(helper.make_tensor_value_info("sure_carried", kinds.FLOAT, [kind.carries]))
    whole = helper.make_graph(nodes, f"stage_{number}", given, outputs, weights)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def save_stages(
    parts: Parts, confidence: str, thresholds: Sequence[float], shares: Sequence[float], folder: Path
) -> None:
    """Write a file for every stage, `router.json`, and `router.py`, which runs them without this package.

    Args:
        parts: The stages and heads.
        confidence: Its kind.
        thresholds: One an exit.
        shares: Of the search split's inputs on each path, the one to the end last.
        folder: Made if it is not there.
    """
    folder.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number, (threshold, share) in enumerate(zip([*thresholds, None], shares, strict=True)):
        content, name = stage_file(parts, confidence, number), f"stage_{number}.onnx"
        _write(folder / name, content)
        rows.append(
            {
                "file": name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "inputs": [parts.inputs[each][0] for each in parts.reads[number]],
                "threshold": threshold,
                "expected_share": share,
            }
        )
    write_json(folder / "router.json", {"schema": "autoprune.router/1", "confidence": confidence, "stages": rows})
    _write(folder / "router.py", (Path(__file__).parent / "router.py").read_bytes())


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _value(like: Any, name: str) -> Any:
    """A value of the same type and sizes under another name."""
    found = type(like)()
    found.CopyFrom(like)
    found.name = name
    return found
