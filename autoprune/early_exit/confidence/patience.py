"""Confidence from agreement: so many exits in a row that answer the same (PABEE, Zhou et al., 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autoprune.dynamic_networks.onnx_nodes import numbers, onnx_package
from autoprune.early_exit.confidence.base import Confidence, ExitNodes, Seen
from autoprune.early_exit.confidence.probability import MostLikely

__all__ = ["Patience"]

_NOBODY = -1.0
"""The answer of a head whose logits are not finite; it agrees with no class."""


class Patience(Confidence):
    """`1 - 2^-k` where k exits in a row, this one the last, give the same answer: 0.5, 0.75, 0.875.

    So the number grows with k, is below 1 whatever the number of exits, and is exact in float32: a threshold means the
    same in every runtime. What is carried is the answer and the number: `s = (1 + [same answer] s_before) / 2`.
    """

    name = "patience"
    carries = 2

    def of(self, seen: Seen) -> Tensor:
        """Of each row, (N,)."""
        said = _said(seen.logits)
        agreed = torch.zeros_like(said)
        if seen.before is not None:
            agreed = torch.where(seen.before[:, 0] == said, seen.before[:, 1], 0.0)
        return torch.where(said == _NOBODY, torch.nan, (1 + agreed) / 2)

    def carried(self, seen: Seen) -> Tensor:
        """Answer and number, (N, 2)."""
        return torch.stack([_said(seen.logits), self.of(seen)], 1)

    def nodes(self, at: ExitNodes) -> list[Any]:
        """The recurrence; `{result}_carried`, (2,), is left for the next exit."""
        helper, kinds, result = onnx_package().helper, onnx_package().TensorProto, at.result

        def op(kind: str, inputs: list[str], output: str, **attributes: int) -> Any:
            return helper.make_node(kind, [f"{result}_{each}" for each in inputs], [f"{result}_{output}"], **attributes)

        finite = MostLikely().nodes(ExitNodes(at.logits, f"{result}_most"))
        constants = {"zero": 0.0, "one": 1.0, "half": 0.5, "nobody": _NOBODY, "nan": float("nan")}
        found = [
            *finite,
            *(numbers(f"{result}_{name}", [value]) for name, value in constants.items()),
            op("GreaterOrEqual", ["most", "zero"], "finite"),
            helper.make_node("ArgMax", [at.logits], [f"{result}_at"], axis=1, keepdims=0),
            op("Cast", ["at", ], "class", to=kinds.FLOAT),
            op("Where", ["finite", "class", "nobody"], "said"),
        ]  # fmt: skip
        agreed = "zero"
        if at.before:
            agreed = "agreed"
            found += [
                helper.make_node("Split", [at.before], [f"{result}_last", f"{result}_run"], axis=0, num_outputs=2),
                op("Equal", ["last", "said"], "same"),
                op("Where", ["same", "run", "zero"], agreed),
            ]
        return [
            *found,
            op("Add", ["one", agreed], "more"),
            op("Mul", ["more", "half"], "sure"),
            helper.make_node("Where", [f"{result}_{each}" for each in ("finite", "sure", "nan")], [result]),
            helper.make_node("Concat", [f"{result}_said", result], [f"{result}_carried"], axis=0),
        ]


def _said(logits: Tensor) -> Tensor:
    """The class that each row is given, as a float (N,)."""
    return torch.where(logits.softmax(1).amax(1) >= 0, logits.argmax(1).to(logits.dtype), _NOBODY)
