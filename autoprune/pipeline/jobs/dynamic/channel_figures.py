"""What the report of a network with gated channels says: by the share of the channels that is kept, and by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autoprune.channel_gating.pairs import ChannelPair
from autoprune.channel_gating.sweep import paths_taken
from autoprune.gating.sweep import Sweep
from autoprune.pipeline.jobs.dynamic.curves import classes_by_exit
from autoprune.pipeline.jobs.dynamic.figures import outcome, threshold_curve
from autoprune.pipeline.jobs.dynamic.verified import Verified

__all__ = ["channel_curves", "channel_figures"]


def channel_figures(pairs: Sequence[ChannelPair], verified: Verified, search: Sweep, test: Sweep) -> dict[str, Any]:
    """Paths by tenths of the channels, gates, latencies, accuracies.

    Args:
        pairs: With gates.
        verified: The choice as timed.
        search: What the threshold is chosen on.
        test: What it is judged on.
    """
    choice = verified.choice
    level = test.at(choice.thresholds[0])
    right, kept, taken = test.right[level], test.opened[level], paths_taken(test.opened[level])
    paths = [
        (f"up to {number + 1}0% of the channels", choice.thresholds[0], expected, ms)
        for number, (expected, ms) in enumerate(zip(choice.shares, verified.paths_ms, strict=True))
    ]
    parts = np.split(kept, np.cumsum([pair.width for pair in pairs])[:-1], 1)
    known = np.split(search.opened[level], np.cumsum([pair.width for pair in pairs])[:-1], 1)
    gates = [
        {
            "layer": pair.name,
            "kept": float(mine.mean()),
            "never": int((~own.any(0)).sum()),
            "always": int(own.all(0).sum()),
        }
        for pair, mine, own in zip(pairs, parts, known, strict=True)
    ]
    return outcome(verified, paths, taken, right, test.dense) | {"gates": gates}


def channel_curves(verified: Verified, test: Sweep) -> dict[str, Any]:
    """Accuracy over mean time for every threshold, and of each class the shares of inputs on each path.

    Args:
        verified: The choice as timed.
        test: What the points are of.
    """
    tenths, level = np.array(verified.paths_ms), test.at(verified.choice.thresholds[0])
    return {
        "curves": threshold_curve(test, (tenths[paths_taken(kept)] for kept in test.opened)),
        "exits_by_class": classes_by_exit(paths_taken(test.opened[level]), test.labels, len(tenths)),
    }
