"""Accuracy against mean time on the test split, who leaves where by class, and how well confidence tells accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.dynamic_networks.thresholds import Answers, Choice, Limits, leaving_at, solved

__all__ = ["classes_by_exit", "curves", "reliability"]

_LOSSES = (0.0, 0.001, 0.002, 0.0035, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)  # promised, fractions
_UNIFORM = tuple(np.linspace(0, 1, 26))  # thresholds that all exits share
_BINS = 10
_MOST_CLASSES = 100  # rows of a picture

Floats = NDArray[np.float64]


def curves(
    choice: Choice, paths_ms: Sequence[float], search: Answers, test: Answers
) -> dict[str, list[dict[str, Any]]]:
    """Points (mean_ms, accuracy) of the chosen exits, in three ways to say who leaves; accuracy is of the test split.

    `solved`: thresholds of least time on the search split, for one promised loss after another. `uniform`: one
    threshold for all exits. `random`: each input draws its exit with the shares of a solved point, whatever its head
    says, so that its expected accuracy is that of the heads weighted by the shares.

    Args:
        choice: The exits.
        paths_ms: Of every path as measured, that to the end last.
        search: What thresholds are chosen on.
        test: What they are judged on.
    """
    path, rows = np.asarray(paths_ms), [*choice.places, len(test.right) - 1]
    sure, right = test.sure(choice.confidence, choice.places), test.right[rows]
    found: dict[str, list[dict[str, Any]]] = {"solved": [], "random": [], "uniform": []}
    for loss in _LOSSES:
        point = solved(search, choice.confidence, choice.places, path, Limits(loss, float(path.max())))
        if point is None:
            continue
        shares, accuracy = _outcome(sure, right, point.thresholds)
        found["solved"].append(_point(path, shares, accuracy) | {"promised_drop": loss})
        found["random"].append(_point(path, shares, float(shares @ right.mean(1))))
    for threshold in _UNIFORM:
        found["uniform"].append(_point(path, *_outcome(sure, right, [threshold] * len(sure))))
    return found


def _outcome(sure: Floats, right: NDArray[np.bool_], thresholds: Sequence[float]) -> tuple[Floats, float]:
    """The share of inputs on each path, and the accuracy of all."""
    taken = leaving_at(sure, thresholds)
    shares: Floats = np.bincount(taken, minlength=len(right)) / len(taken)
    return shares, float(right[taken, np.arange(len(taken))].mean())


def _point(path: Floats, shares: Floats, accuracy: float) -> dict[str, Any]:
    return {"mean_ms": float(path @ shares), "accuracy": accuracy}


def classes_by_exit(taken: NDArray[np.int64], labels: NDArray[np.int64] | None, exits: int) -> list[dict[str, Any]]:
    """For every class the share of its inputs on each path, the end last; nothing where there are very many classes.

    Args:
        taken: The exit of each input.
        labels: The class of each input.
        exits: Paths, the one to the end among them.
    """
    known = [] if labels is None else np.unique(labels).tolist()
    if labels is None or len(known) > _MOST_CLASSES:
        return []
    counts = [np.bincount(taken[labels == each], minlength=exits) for each in known]
    return [{"class": each, "shares": (row / row.sum()).tolist()} for each, row in zip(known, counts, strict=True)]


def reliability(confidences: Floats, right: NDArray[np.bool_]) -> list[Mapping[str, Any]]:
    """Bins of equal width over the largest probability: inputs, their mean confidence, their accuracy; empty ones out.

    Args:
        confidences: The largest probability of one exit for each input.
        right: Whether its answer is right.
    """
    finite = np.isfinite(confidences)
    sure, good = confidences[finite], right[finite]
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    return [
        {"inputs": int(mine.sum()), "confidence": float(sure[mine].mean()), "accuracy": float(good[mine].mean())}
        for mine in (bins == number for number in range(_BINS))
        if mine.any()
    ]
