"""What the report of a network with gates says: by the number of its blocks that are computed, and by gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autoprune.gating.sweep import GateTimes, Split, Sweep
from autoprune.pipeline.jobs.dynamic.curves import classes_by_exit
from autoprune.pipeline.jobs.dynamic.figures import outcome, threshold_curve
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
    paths = [
        (
            f"{count} of {len(live)} blocks",
            choice.thresholds[0],
            float((known.sum(1) == count).mean()),
            _path_ms(times, count, [*opened, *known]),
        )
        for count in range(len(live) + 1)
    ]
    saved, shares = times.saved.tolist(), (1 - opened.mean(0)).tolist()
    gates = [
        {"block": names[place], "skipped": share, "saves_ms": ms, "break_even": a_gate / ms if ms else None}
        for place, share, ms in zip(live, shares, saved, strict=True)
    ]
    more = {"gates": gates, "dropped": [names[place] for place in dropped]}
    return outcome(verified, paths, opened.sum(1), right, test.dense) | more


def gate_curves(times: GateTimes, verified: Verified, search: Sweep, test: Sweep) -> dict[str, Any]:
    """Accuracy over mean time for every threshold, and of each class the shares of computed blocks.

    Args:
        times: Of all gates, as measured before the training.
        verified: The choice as timed.
        search: What says which gates remain at a threshold.
        test: What the points are of.
    """
    splits = [Split.of(known) for known in search.opened]
    ms = [
        times.only(split.live, split.dropped).of(opened[:, list(split.live)])
        for split, opened in zip(splits, test.opened, strict=True)
    ]
    choice = verified.choice
    taken = test.opened[test.at(choice.thresholds[0])][:, list(choice.places)].sum(1).astype(np.int64)
    return {
        "curves": threshold_curve(test, ms),
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
