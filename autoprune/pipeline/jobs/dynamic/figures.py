"""What the report of a network with exits says: as predicted, as measured, and on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from autoprune.early_exit.thresholds import Answers, leaving_at
from autoprune.pipeline.jobs.dynamic.curves import classes_by_exit, curves, reliability
from autoprune.pipeline.jobs.dynamic.verified import Verified

__all__ = ["END", "figures", "pictured", "times_of"]

END = "end"
"""What the path of those is called that nothing was saved for."""


def figures(names: Sequence[str], verified: Verified, test: Answers) -> dict[str, Any]:
    """Exits, latencies, accuracies.

    Args:
        names: Of all places that were offered.
        verified: The choice as timed.
        test: Answers on the test split.
    """
    choice, dense = verified.choice, verified.streams[0]
    taken = leaving_at(test.sure(choice.confidence, choice.places), choice.thresholds)
    rows = np.array([*choice.places, len(test.right) - 1])[taken]
    right = test.right[rows, np.arange(test.right.shape[1])]
    exits = []
    for number, (ms, expected) in enumerate(zip(verified.paths_ms, choice.shares, strict=True)):
        mine = taken == number
        is_end = number == len(choice.places)
        exits.append(
            {
                "place": END if is_end else names[choice.places[number]],
                "threshold": None if is_end else choice.thresholds[number],
                "share": float(mine.mean()),
                "expected_share": expected,
                "accuracy": float(right[mine].mean()) if mine.any() else None,
                "dense_accuracy": float(test.dense[mine].mean()) if mine.any() else None,
                "path_ms": ms,
                "stream_ms": verified.stream_paths_ms.get(number),
            }
        )
    return {
        "dense": {"accuracy": float(test.dense.mean()), "latency_ms": verified.dense_ms, "stream": asdict(dense)},
        "accuracy": float(right.mean()),
        "confidence": choice.confidence,
        "promised_drop": choice.bound,
        "search_drop": choice.loss,
        "test_drop": float(test.dense.mean() - right.mean()),
        "exits": exits,
        **times_of(verified),
    }


def times_of(verified: Verified) -> dict[str, Any]:
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
