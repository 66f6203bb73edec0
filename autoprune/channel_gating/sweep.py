"""What gathering channels takes, layer by layer and altogether, and which threshold keeps the limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.channel_gating.pairs import path_of_count
from autoprune.dynamic_networks.thresholds import Choice, Floats, Limits, loss_bound
from autoprune.gating.sweep import Sweep

__all__ = ["LayerTimes", "ShareTimes", "channel_choices", "paths_taken"]

_ALL = 0.99  # of the inputs that keep the same channels: such a network is a static one


@dataclass(frozen=True)
class LayerTimes:
    """The whole network with one pair of convolutions gated, or narrower for all inputs, as measured.

    Attributes:
        dense: Milliseconds of the network without gates.
        quarter: With a quarter of the channels gathered, the gate included.
        half: With half of them gathered.
        prepared: With half of them in a static network, whose weights the runtime lays out beforehand.
    """

    dense: float
    quarter: float
    half: float
    prepared: float

    def at(self, share: float) -> float:
        """Milliseconds with so many channels gathered, on the line through what was measured."""
        return self.quarter + (share - 0.25) / 0.25 * (self.half - self.quarter)

    @property
    def break_even(self) -> float | None:
        """The share of the channels up to which gathering them is faster than the dense layer; None where none is."""
        if self.quarter >= self.dense:
            return None
        slope = (self.half - self.quarter) / 0.25
        return 1.0 if slope <= 0 else min(1.0, 0.25 + (self.dense - self.quarter) / slope)

    @property
    def fastest(self) -> str:
        """Of half the channels: `gather`, `prepared`, or `dense` where neither is faster than the whole layer."""
        times = {"gather": self.half, "prepared": self.prepared, "dense": self.dense}
        return min(times, key=lambda name: times[name])


@dataclass(frozen=True)
class ShareTimes:
    """The network with all its gates, by the share of the gated channels that is kept.

    Attributes:
        dense: Milliseconds of the network without gates.
        tenths: With a tenth of the channels, two tenths, ..., up to what an input keeps at most.
    """

    dense: float
    tenths: tuple[float, ...]

    @property
    def least(self) -> float:
        """The shortest path of all."""
        return min(self.tenths)

    @property
    def least_worst(self) -> float:
        """The least that a longest path can take: all inputs keep a tenth."""
        return self.tenths[0]

    def within(self, worst: float) -> ShareTimes:
        """Up to the largest share whose time, and that of all smaller ones, is within a limit; at least a tenth."""
        over = next((number for number, ms in enumerate(self.tenths) if ms > worst), len(self.tenths))
        return ShareTimes(self.dense, self.tenths[: max(1, over)])


def paths_taken(kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The path of each input, from which channels it keeps, bool (inputs, channels)."""
    found: NDArray[np.int64] = np.asarray(path_of_count(kept.sum(1), kept.shape[1]), np.int64)
    return found


def channel_choices(sweep: Sweep, times: ShareTimes, limits: Limits) -> Iterator[Choice]:
    """The thresholds that keep the limits; a network of which all inputs keep the same channels is none.

    Args:
        sweep: Of the search split.
        times: As measured.
        limits: What is to be kept.
    """
    inputs, tenths = len(sweep.dense), np.array(times.tenths)
    if times.tenths[-1] > limits.worst:
        return
    for level, right, kept in zip(sweep.levels, sweep.right, sweep.opened, strict=True):
        lost, gained = int((sweep.dense & ~right).sum()), int((~sweep.dense & right).sum())
        bound = float(loss_bound(lost, gained, inputs))
        if bound > limits.loss or _commonest(kept) > _ALL:
            continue
        taken = paths_taken(kept)
        ms: Floats = tenths[taken]
        if limits.p95 is None or float((ms > limits.p95).mean()) <= 0.05:
            shares: Sequence[Any] = (np.bincount(taken, minlength=len(tenths)) / inputs).tolist()
            yield Choice((0,), "gate", (level,), tuple(shares), float(ms.mean()), (lost - gained) / inputs, bound)


def _commonest(kept: NDArray[np.bool_]) -> float:
    """The share of inputs that keep the channels that most keep."""
    counts = np.unique(np.packbits(kept, axis=1), axis=0, return_counts=True)[1]
    return float(counts.max() / len(kept))
