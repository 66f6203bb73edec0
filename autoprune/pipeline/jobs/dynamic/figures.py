"""What the report of a network with exits says: as predicted, as measured, and on the test split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.dynamic_networks.thresholds import Answers, leaving_at
from autoprune.gating.sweep import Sweep
from autoprune.pipeline.jobs.dynamic.curves import classes_by_exit, curves, reliability
from autoprune.pipeline.jobs.dynamic.verified import Verified

__all__ = ["END", "figures", "outcome", "pictured", "threshold_curve"]

END = "end"
"""What the path of those is called that nothing was saved for."""


def figures(names: Sequence[str], verified: Verified, test: Answers) -> dict[str, Any]:
    """Exits, latencies, accuracies.

    Args:
        names: Of all places that were offered.
        verified: The choice as timed.
        test: Answers on the test split.
    """
    choice = verified.choice
    taken = leaving_at(test.sure(choice.confidence, choice.places), choice.thresholds)
    rows = np.array([*choice.places, len(test.right) - 1])[taken]
    right = test.right[rows, np.arange(test.right.shape[1])]
    places, levels = [*(names[each] for each in choice.places), END], [*choice.thresholds, None]
    paths = list(zip(places, levels, choice.shares, verified.paths_ms, strict=True))
    return outcome(verified, paths, taken, right, test.dense)


def outcome(
    verified: Verified,
    paths: Sequence[tuple[str, float | None, float, float]],
    taken: NDArray[np.int64],
    right: NDArray[np.bool_],
    dense: NDArray[np.bool_],
) -> dict[str, Any]:
    """What the report says of every dynamic network: its paths, its accuracy, its times.

    Args:
        verified: The choice as timed.
        paths: Of each its name, its threshold, the share of inputs that is expected on it, and its milliseconds.
        taken: The path of each input of the test split, (inputs,).
        right: Whether the dynamic network's answer is right, (inputs,).
        dense: Whether the dense network's is, (inputs,).
    """
    choice, stream = verified.choice, verified.streams[0]
    exits = []
    for number, (name, threshold, expected, ms) in enumerate(paths):
        mine = taken == number
        exits.append(
            {
                "place": name,
                "threshold": threshold,
                "share": float(mine.mean()),
                "expected_share": expected,
                "accuracy": float(right[mine].mean()) if mine.any() else None,
                "dense_accuracy": float(dense[mine].mean()) if mine.any() else None,
                "path_ms": ms,
                "stream_ms": verified.stream_paths_ms.get(number),
            }
        )
    return {
        "dense": {"accuracy": float(dense.mean()), "latency_ms": verified.dense_ms, "stream": asdict(stream)},
        "accuracy": float(right.mean()),
        "confidence": choice.confidence,
        "promised_drop": choice.bound,
        "search_drop": choice.loss,
        "test_drop": float(dense.mean() - right.mean()),
        "exits": exits,
        **_times_of(verified),
    }


def _times_of(verified: Verified) -> dict[str, Any]:
    """Mean, tail and longest path in milliseconds: as predicted, and as the stream took them."""
    dense, stream = verified.streams
    scale = verified.dense_ms / dense.mean
    return {
        "predicted_mean_latency_ms": verified.predicted,
        "mean_latency_ms": stream.mean * scale,
        "p95_latency_ms": stream.p95 * scale,
        "worst_latency_ms": max(verified.paths_ms),
        "stream": asdict(stream),
        "mean_share": verified.measured_share,
        "predicted_share": verified.predicted_share,
        "call_ms": verified.call_ms,
    }


def threshold_curve(test: Sweep, times: Iterable[NDArray[np.float64]]) -> dict[str, list[dict[str, float]]]:
    """Accuracy over mean time where one threshold decides: a point for each that was tried.

    Args:
        test: What the points are of.
        times: At each threshold the milliseconds of every input, (inputs,).
    """
    points = [
        {"mean_ms": float(ms.mean()), "accuracy": float(right.mean()), "threshold": threshold}
        for threshold, right, ms in zip(test.levels, test.right, times, strict=True)
    ]
    return {"one threshold": points}


def pictured(verified: Verified, search: Answers, test: Answers, kind: str = "max") -> dict[str, Any]:
    """What the page draws of the test split.

    Args:
        verified: The choice as timed.
        search: What thresholds are chosen on.
        test: What they are judged on.
        kind: Of confidence: one that is a probability of being right.
    """
    choice = verified.choice
    taken = leaving_at(test.sure(choice.confidence, choice.places), choice.thresholds)
    return {
        "curves": curves(choice, verified.paths_ms, search, test),
        "exits_by_class": classes_by_exit(taken, test.labels, len(choice.places) + 1),
        "reliability": [reliability(test.sure(kind, [place])[0], test.right[place]) for place in choice.places],
    }
