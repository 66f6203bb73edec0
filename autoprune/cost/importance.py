"""Importance of a step by what it loses and by what it saves on the device, in place of a rule of thumb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError

__all__ = ["ImportanceWeights", "hardware_importance"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ImportanceWeights:
    """What counts how much in `hardware_importance`.

    Attributes:
        alpha: Of the score that a unit is predicted to cost.
        beta: Of the time (or whatever the budget is on) that its removal saves: the less it saves, the more it matters.
        gamma: The same of energy.

    Raises:
        InputError: If one of them is negative, or none is above 0.
    """

    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        values = (self.alpha, self.beta, self.gamma)
        if not all(np.isfinite(value) and value >= 0 for value in values) or not any(values):
            raise InputError(f"alpha, beta and gamma must be 0 or more, one of them above 0; not {values}")


def hardware_importance(
    accuracy: Sequence[float], latency: Sequence[float], energy: Sequence[float], weights: ImportanceWeights
) -> Floats:
    """`alpha * accuracy + beta / latency + gamma / energy`, each relative to its mean over the decisions.

    The three have units of their own (score, milliseconds, millijoules), so that without a common measure the weights
    would mean something else for every network.

    Args:
        accuracy: Score that is lost for one unit less, by decision; 0 or more.
        latency: Cost that one unit less saves, by decision; what saves nothing (0 or less) is never worth removing.
        energy: The same of energy.
        weights: What counts how much.

    Returns:
        Importance by decision, shape (decisions,); infinite where a part that counts saves nothing.

    >>> hardware_importance([1.0, 3.0], [1.0, 3.0], [1.0, 1.0], ImportanceWeights(1, 1)).tolist()
    [2.5, 2.1666666666666665]
    """
    total = weights.alpha * _relative(np.asarray(accuracy, dtype=np.float64))
    for weight, saved in ((weights.beta, latency), (weights.gamma, energy)):
        if weight:
            share = _relative(np.maximum(np.asarray(saved, dtype=np.float64), 0.0))
            total = total + weight * np.divide(1.0, share, out=np.full(len(share), np.inf), where=share > 0)
    return total


def _relative(values: Floats) -> Floats:
    mean = float(values.mean()) if len(values) else 0.0
    return values / mean if mean > 0 else np.zeros_like(values)
