"""Ranges of activations from their histograms: what is represented exactly to a step, and what is cut off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.quantization.affine import rounded
from autoprune.quantization.scheme import Scheme

__all__ = ["BINS", "RANGES", "Histogram"]

BINS = 2048
"""Of a histogram."""

_CUTS = np.linspace(0.2, 1.0, 81)  # shares of a range that are tried
_PERCENTILE = 1e-4  # of the values lie outside, half of them on either side


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often a tensor had which values.

    Attributes:
        low: Least value.
        high: Largest value.
        counts: int64 (BINS,), of bins of one width from `low` to `high`.
    """

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin, (BINS,)."""
        return self.low + (np.arange(len(self.counts)) + 0.5) * (self.high - self.low) / len(self.counts)


Range = tuple[float, float]


def _whole(found: Histogram, scheme: Scheme) -> Range:
    return found.low, found.high


def _percentile(found: Histogram, scheme: Scheme) -> Range:
    shares = np.cumsum(found.counts) / max(int(found.counts.sum()), 1)
    edges = found.low + np.arange(len(shares) + 1) * (found.high - found.low) / len(shares)
    low = edges[int(np.searchsorted(shares, _PERCENTILE / 2, side="right"))]
    high = edges[min(int(np.searchsorted(shares, 1 - _PERCENTILE / 2)) + 1, len(shares))]
    return float(low), float(high)


def _squares(found: Histogram, low: float, high: float, scheme: Scheme) -> float:
    centres = found.centres
    return float((found.counts * np.square(rounded(centres, low, high, scheme) - centres)).sum())


def _divergence(found: Histogram, low: float, high: float, scheme: Scheme) -> float:
    """Kullback-Leibler divergence of the integers' distribution from the values' (Migacz, GTC 2017).

    Values beyond the range count as its ends in the first distribution, and are missing in the second, which spreads
    each integer's count evenly over the bins that it stands for. The bin of 0 is left out: 0 is an integer of every
    type, and behind a ReLU half of the values are 0, whose spread would be all that counts.
    """
    centres, counts = found.centres, found.counts.astype(np.float64)
    counts[np.abs(centres).argmin()] = 0.0
    inside = (centres >= min(low, 0.0)) & (centres <= max(high, 0.0))
    if not inside.any():
        return float("inf")
    first, last = np.flatnonzero(inside)[[0, -1]]
    kept = counts[first : last + 1]
    if not kept.any():
        return float("inf")
    with_ends = kept.copy()
    with_ends[0] += counts[:first].sum()
    with_ends[-1] += counts[last + 1 :].sum()
    values = rounded(centres[first : last + 1], low, high, scheme)
    _, place = np.unique(values, return_inverse=True)
    sums = np.bincount(place, kept)
    filled = np.bincount(place, kept > 0)
    spread = np.where(kept > 0, sums[place] / np.maximum(filled[place], 1), 0.0)
    p, q = with_ends / with_ends.sum(), spread / max(spread.sum(), 1e-300)
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())


def _least(loss: Callable[[Histogram, float, float, Scheme], float]) -> Callable[[Histogram, Scheme], Range]:
    """The range of least loss among shares of the whole one."""

    def chosen(found: Histogram, scheme: Scheme) -> Range:
        if not found.counts.any():  # of a tensor that has one value only
            return _whole(found, scheme)
        cuts = [(share * found.low, share * found.high) for share in map(float, _CUTS)]
        losses = [loss(found, low, high, scheme) for low, high in cuts]
        return cuts[int(np.argmin(losses[::-1])) * -1 - 1]  # of equal ones the widest

    return chosen


RANGES: Mapping[str, Callable[[Histogram, Scheme], Range]] = {
    "minmax": _whole,
    "percentile": _percentile,
    "mse": _least(_squares),
    "entropy": _least(_divergence),
}
"""By name: from a tensor's histogram and the integers to its range (low, high)."""
