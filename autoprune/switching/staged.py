"""A network of several widths as one ONNX file for the trunk and its gate, and one for every width."""

from __future__ import annotations

from collections.abc import Sequence

from autoprune.dynamic_networks.onnx_nodes import inlined
from autoprune.dynamic_networks.staged import Branch, StageFile, Step, answering_stage, stage_model, value_like
from autoprune.switching.onnx_file import WidthParts

__all__ = ["width_stages"]


def width_stages(parts: WidthParts, thresholds: Sequence[float]) -> list[StageFile]:
    """The stages of a network of several widths; the path is the number of the width.

    The first leaves `sure`, the scores of the narrow widths (1, widths), and `passed`, which is every width's
    `features`; each of the others leaves the logits of a width, the whole network's last.

    Args:
        parts: The exported parts.
        thresholds: One a narrow width.
    """
    reads = [tuple(parts.inputs[each] for each in read) for read in parts.reads]
    names = tuple(each[0] for each in reads[0])
    nodes, weights = inlined(parts.trunk, "trunk_", names, "passed")
    scores, more = inlined(parts.gate, "gate_", ["passed"], "sure")
    outputs = [value_like(parts.gate.graph.output[0], "sure"), value_like(parts.trunk.graph.output[0], "passed")]
    model = stage_model([*nodes, *scores], [*weights, *more], [], reads[0], outputs)
    steps = [Step(width + 1, path=width, passes={"passed": "features"}) for width in range(len(parts.tails))]
    choices = [Branch(steps[width], threshold, score=width) for width, threshold in enumerate(thresholds)]
    tails = [answering_stage(tail, read, parts.classes) for tail, read in zip(parts.tails, reads[1:], strict=True)]
    return [StageFile(model, names, steps[-1], tuple(choices)), *tails]
