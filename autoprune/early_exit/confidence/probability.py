"""Confidence from the probabilities of one head: the largest, the margin of the two largest, their entropy."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from autoprune.dynamic_networks.onnx_nodes import constant, numbers, onnx_package
from autoprune.early_exit.confidence.base import Confidence, ExitNodes, Seen

__all__ = ["Entropy", "Margin", "MostLikely", "flattened"]


class MostLikely(Confidence):
    """The largest probability."""

    name = "max"

    def of(self, seen: Seen) -> Tensor:
        """The largest probability, (N,)."""
        return seen.logits.softmax(1).amax(1)

    def nodes(self, at: ExitNodes) -> list[Any]:
        """Softmax, maximum."""
        helper, result = onnx_package().helper, at.result
        return [
            helper.make_node("Softmax", [at.logits], [f"{result}_p"], axis=1),
            helper.make_node("ReduceMax", [f"{result}_p"], [f"{result}_m"], keepdims=0),
            *flattened(f"{result}_m", result),
        ]


class Margin(Confidence):
    """The difference of the two largest probabilities."""

    name = "margin"

    def of(self, seen: Seen) -> Tensor:
        """The difference, (N,)."""
        first = seen.logits.softmax(1).topk(2, 1).values
        return first[:, 0] - first[:, 1]

    def nodes(self, at: ExitNodes) -> list[Any]:
        """Softmax, the two largest, their difference."""
        helper, result = onnx_package().helper, at.result
        return [
            helper.make_node("Softmax", [at.logits], [f"{result}_p"], axis=1),
            constant(f"{result}_two", 2),
            helper.make_node("TopK", [f"{result}_p", f"{result}_two"], [f"{result}_top", f"{result}_at"], axis=1),
            helper.make_node("Split", [f"{result}_top"], [f"{result}_a", f"{result}_b"], axis=1, num_outputs=2),
            helper.make_node("Sub", [f"{result}_a", f"{result}_b"], [f"{result}_d"]),
            *flattened(f"{result}_d", result),
        ]


class Entropy(Confidence):
    """1 less the entropy as a share of the largest possible, from the logarithms of the probabilities.

    `p * log(p)` of a probability that is 0 is NaN, and the surest inputs would never leave.
    """

    name = "entropy"

    def of(self, seen: Seen) -> Tensor:
        """Of each row, (N,)."""
        logs = seen.logits.log_softmax(1)
        return 1 + (logs.exp() * logs).sum(1) / math.log(logs.shape[1])

    def nodes(self, at: ExitNodes) -> list[Any]:
        """Logarithms of the probabilities, their mean by probability; the classes are counted where it runs."""
        helper, result = onnx_package().helper, at.result

        def op(kind: str, inputs: list[str], output: str, **attributes: int) -> Any:
            return helper.make_node(kind, [f"{result}_{each}" for each in inputs], [f"{result}_{output}"], **attributes)

        return [
            helper.make_node("LogSoftmax", [at.logits], [f"{result}_logs"], axis=1),
            op("Exp", ["logs"], "p"),
            op("Mul", ["p", "logs"], "terms"),
            op("ReduceSum", ["terms"], "sum", keepdims=0),
            helper.make_node("Size", [at.logits], [f"{result}_count"]),  # a batch of one
            op("Cast", ["count"], "classes", to=onnx_package().TensorProto.FLOAT),
            op("Log", ["classes"], "most"),
            op("Div", ["sum", "most"], "share"),
            numbers(f"{result}_one", [1.0]),
            op("Add", ["share", "one"], "sure"),
            *flattened(f"{result}_sure", result),
        ]


def flattened(value: str, result: str) -> list[Any]:
    """Nodes that make a value of one number one of the shape (1,)."""
    shape = constant(f"{result}_shape", 1)
    return [shape, onnx_package().helper.make_node("Reshape", [value, f"{result}_shape"], [result])]
