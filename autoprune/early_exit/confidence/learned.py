"""Confidence that is learned: how likely a head is right, by a logistic model on its sorted probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.dynamic_networks.onnx_nodes import constant, numbers, onnx_package
from autoprune.early_exit.confidence.base import Confidence, ExitNodes, Seen
from autoprune.early_exit.confidence.probability import flattened
from autoprune.errors import AutopruneError

__all__ = ["Learned", "fit_scorer", "new_scorer"]

_MOST = 10
"""Probabilities that are read, the largest first."""

_LEAST = -30.0
"""Logarithms of smaller probabilities are read as this one."""

_STEPS = 50
_DECAY = 1e-4


class Learned(Confidence):
    """The probability that the head is right, from the logarithms of its largest probabilities in order."""

    name = "learned"
    learns = True

    def of(self, seen: Seen) -> Tensor:
        """Of each row, (N,)."""
        if seen.scorer is None:
            raise AutopruneError("internal error: the learned score of an exit was not trained")
        score: Tensor = seen.scorer(_sorted(seen.logits, seen.scorer.in_features))
        return score[:, 0].sigmoid()

    def nodes(self, at: ExitNodes) -> list[Any]:
        """The same; the weights are constants of the graph in which the nodes lie."""
        helper, result = onnx_package().helper, at.result
        *weights, bias = at.scorer

        def op(kind: str, inputs: list[str], output: str, **attributes: int) -> Any:
            return helper.make_node(kind, [f"{result}_{each}" for each in inputs], [f"{result}_{output}"], **attributes)

        return [
            helper.make_node("LogSoftmax", [at.logits], [f"{result}_logs"], axis=1),
            constant(f"{result}_many", len(weights)),
            helper.make_node("TopK", [f"{result}_logs", f"{result}_many"], [f"{result}_top", f"{result}_at"], axis=1),
            numbers(f"{result}_least", [_LEAST]),
            op("Max", ["top", "least"], "read"),
            numbers(f"{result}_weights", weights),
            numbers(f"{result}_bias", [bias]),
            op("Mul", ["read", "weights"], "terms"),
            op("ReduceSum", ["terms"], "sum", keepdims=0),
            op("Add", ["sum", "bias"], "score"),
            op("Sigmoid", ["score"], "sure"),
            *flattened(f"{result}_sure", result),
        ]


def new_scorer(classes: int) -> nn.Linear:
    """A scorer that has learned nothing, for a head of so many classes."""
    return nn.Linear(min(classes, _MOST), 1)


def fit_scorer(scorer: nn.Linear, logits: Tensor, labels: Tensor) -> None:
    """Fit the logistic model to whether a head is right: convex, so that nothing depends on a seed.

    Args:
        scorer: Its weights are replaced.
        logits: Of the head, (N, classes).
        labels: int64 (N,).
    """
    inputs = _sorted(logits.detach(), scorer.in_features).double()
    right = (logits.argmax(1) == labels).double()
    mean, scale = inputs.mean(0), inputs.std(0, unbiased=False).clamp_min(1e-6)
    inputs = (inputs - mean) / scale
    weight = torch.zeros(inputs.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        score = inputs @ weight[:-1] + weight[-1]
        found = functional.binary_cross_entropy_with_logits(score, right) + _DECAY * weight[:-1].square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        folded = weight[:-1] / scale
        scorer.weight.copy_(folded[None])
        scorer.bias.copy_((weight[-1] - folded @ mean)[None])


def _sorted(logits: Tensor, count: int) -> Tensor:
    """Logarithms of the largest probabilities, descending, (N, count)."""
    return logits.log_softmax(1).topk(count, 1).values.clamp_min(_LEAST)
