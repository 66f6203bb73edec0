"""What the report of a network with gates says: by the number of its blocks that are computed, and by gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from autoprune.gating.sweep import GateTimes, Split, Sweep
from autoprune.pipeline.jobs.dynamic.curves import classes_by_exit
from autoprune.pipeline.jobs.dynamic.figures import times_of
from autoprune.pipeline.jobs.dynamic.verified import Verified

__all__ = ["gate_curves", "gate_figures"]


def gate_figures(names: Sequence[str], a_gate: float, verified: Verified, search: Sweep, test: Sweep) -> dict[str, Any]:
    """Paths by the number of computed blocks, gates, latencies, accuracies.

    Args:
        names: Of the blocks that had gates in the training.
        a_gate: What a gate costs, in milliseconds.
        verified: The choice as timed.
        search: What the threshold is chosen on.
        test: What it is judged on.
    """
    choice, times = verified.choice, _times(verified)
    level, live = test.at(choice.thresholds[0]), list(choice.places)
    right, opened, known = test.right[level], test.opened[level][:, live], search.opened[level][:, live]
    dropped = Split.of(search.opened[level]).dropped
    taken = opened.sum(1)
    exits = [
        {
            "place": f"{count} of {len(live)} blocks",
            "threshold": choice.thresholds[0],
            "share": float((taken == count).mean()),
            "expected_share": float((known.sum(1) == count).mean()),
            "accuracy": float(right[taken == count].mean()) if (taken == count).any() else None,
            "dense_accuracy": float(test.dense[taken == count].mean()) if (taken == count).any() else None,
            "path_ms": _path_ms(times, count, [*opened, *known]),
            "stream_ms": verified.stream_paths_ms.get(count),
        }
        for count in range(len(live) + 1)
    ]
    saved, shares = times.saved.tolist(), (1 - opened.mean(0)).tolist()
    gates = [
        {"block": names[place], "skipped": share, "saves_ms": ms, "break_even": a_gate / ms if ms else None}
        for place, share, ms in zip(live, shares, saved, strict=True)
    ]
    dense = verified.streams[0]
    return {
        "dense": {"accuracy": float(test.dense.mean()), "latency_ms": verified.dense_ms, "stream": asdict(dense)},
        "accuracy": float(right.mean()),
        "confidence": choice.confidence,
        "promised_drop": choice.bound,
        "search_drop": choice.loss,
        "test_drop": float(test.dense.mean() - right.mean()),
        "exits": exits,
        "gates": gates,
        "dropped": [names[place] for place in dropped],
        **times_of(verified),
    }


def gate_curves(times: GateTimes, verified: Verified, search: Sweep, test: Sweep) -> dict[str, Any]:
    """Accuracy over mean time for every threshold, and of each class the shares of computed blocks.

    Args:
        times: Of all gates, as measured before the training.
        verified: The choice as timed.
        search: What says which gates remain at a threshold.
        test: What the points are of.
    """
    points = []
    for threshold, right, opened, known in zip(test.levels, test.right, test.opened, search.opened, strict=True):
        split = Split.of(known)
        ms = times.only(split.live, split.dropped).of(opened[:, list(split.live)])
        points.append({"mean_ms": float(ms.mean()), "accuracy": float(right.mean()), "threshold": threshold})
    choice = verified.choice
    taken = test.opened[test.at(choice.thresholds[0])][:, list(choice.places)].sum(1).astype(np.int64)
    return {
        "curves": {"one threshold": points},
        "exits_by_class": classes_by_exit(taken, test.labels, len(choice.places) + 1),
    }


def _times(verified: Verified) -> GateTimes:
    opened, *without, shut = verified.paths_ms
    return GateTimes(verified.dense_ms, opened, tuple(without), shut)


def _path_ms(times: GateTimes, count: int, opened: Sequence[Any]) -> float:
    """What inputs that compute so many blocks take on average; where there are none, blocks of average size."""
    mine = [each for each in opened if each.sum() == count]
    if mine:
        return float(times.of(np.stack(mine)).mean())
    skipped = len(times.without) - count
    return times.opened - skipped * float(times.saved.mean())
