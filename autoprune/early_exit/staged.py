"""A network with exits as one ONNX file a stage: each ends at an exit, which is taken or passed."""

from __future__ import annotations

from collections.abc import Sequence

from autoprune.dynamic_networks.onnx_nodes import inlined, onnx_package
from autoprune.dynamic_networks.staged import Branch, StageFile, Step, answering_stage, stage_model, value_like
from autoprune.early_exit.confidence.base import ExitNodes
from autoprune.early_exit.confidence.registry import confidence_named
from autoprune.early_exit.onnx_file import Parts

__all__ = ["exit_stages"]


def exit_stages(parts: Parts, confidence: str, thresholds: Sequence[float]) -> list[StageFile]:
    """The stages of a network with exits; the path is the number of the exit.

    The outputs of a stage are the logits of its exit, `sure`, the confidence (1,), and `passed`, which is the next
    stage's `features`; the last stage has the network's logits alone. A confidence that depends on the exits before has
    `sure_carried` behind them, which is the next exit's `carried`.

    Args:
        parts: The stages and heads.
        confidence: Its kind.
        thresholds: One an exit.
    """
    last = tuple(parts.inputs[each] for each in parts.reads[-1])
    end = answering_stage(parts.stages[-1], last, parts.classes)
    return [*(_exit(parts, confidence, *each) for each in enumerate(thresholds)), end]


def _exit(parts: Parts, confidence: str, number: int, threshold: float) -> StageFile:
    helper, kinds = onnx_package().helper, onnx_package().TensorProto
    graph, kind = parts.stages[number].graph, confidence_named(confidence)
    read = tuple(parts.inputs[each] for each in parts.reads[number])
    passed = [value_like(graph.input[0], "features")] if number else []
    sources = [*(each.name for each in passed), *(each[0] for each in read)]
    before = "carried" if number and kind.carries else ""
    if before:
        passed.append(helper.make_tensor_value_info(before, kinds.FLOAT, [kind.carries]))
    nodes, weights = inlined(parts.stages[number], "stage_", sources, "passed")
    answer, more = inlined(parts.heads[number], "head_", ["passed"], "logits")
    sure = kind.nodes(ExitNodes("logits", "sure", parts.scorers[number], before))
    outputs = [
        helper.make_tensor_value_info("logits", kinds.FLOAT, [1, parts.classes]),
        helper.make_tensor_value_info("sure", kinds.FLOAT, [1]),
        value_like(graph.output[0], "passed"),
    ]
    passes = {"passed": "features"}
    if kind.carries and number + 1 < len(parts.heads):
        outputs.append(helper.make_tensor_value_info("sure_carried", kinds.FLOAT, [kind.carries]))
        passes["sure_carried"] = "carried"
    model = stage_model([*nodes, *answer, *sure], [*weights, *more], passed, read, outputs)
    onwards = Step(number + 1, path=1, passes=passes)
    return StageFile(model, tuple(each[0] for each in read), onwards, (Branch(Step(None), threshold),))
