"""OWL: blocks with more outliers keep more of their weights, the total staying as it is.

Yin and others, Outlier weighed layerwise sparsity, ICML 2024: an outlier is a weight whose Wanda score is above M times
the mean of its matrix; D is the share of outliers in a block; ratios follow -D, spread over 2 * lambda around the mean.
Deviations: where all blocks have the same share, all get the same ratio (the authors' code divides by zero), and the
mean is weighted by the blocks' weights, so that the network's own ratio is what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from autoprune.errors import InputError

__all__ = ["OUTLIER", "SPREAD", "outlier_share", "ratios"]

OUTLIER = 5.0
"""M: so many times the mean makes an outlier."""

SPREAD = 0.08
"""lambda: ratios lie within this of each other's mean, or a little beyond."""


def outlier_share(scores: Sequence[Tensor]) -> float:
    """The share of outliers among the Wanda scores of a block's matrices."""
    outliers = sum(int((each > OUTLIER * each.mean()).sum()) for each in scores)
    return outliers / max(1, sum(each.numel() for each in scores))


def ratios(shares: Sequence[float], weights: Sequence[int], zeros: float, spread: float = SPREAD) -> list[float]:
    """The share of zeros of each block.

    Args:
        shares: Share of outliers of each block.
        weights: Weights of each block that can go.
        zeros: Share of zeros of all blocks together.
        spread: lambda.

    Raises:
        InputError: If a ratio would leave nothing, or be negative.

    >>> [round(each, 3) for each in ratios([0.0, 0.01, 0.02], [100, 100, 100], 0.5)]
    [0.58, 0.5, 0.42]
    """
    low, high = min(shares), max(shares)
    raised = [2 * spread * (each - low) / (high - low) if high > low else 0.0 for each in shares]
    mean = sum(r * w for r, w in zip(raised, weights, strict=True)) / sum(weights)
    found = [zeros - each + mean for each in raised]
    if min(found) < 0 or max(found) >= 1:
        raise InputError(f"OWL would give blocks {min(found):.0%} to {max(found):.0%} zeros; ask for less or for more")
    return found
