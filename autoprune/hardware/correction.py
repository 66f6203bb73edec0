"""From the sum of a table's entries to the latency of a network: a factor a class, fitted on end-to-end runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

__all__ = ["GROUPS", "Errors", "Run", "errors_of", "fit_factors", "fit_macs"]

GROUPS = ("1x1", "3x3", "depthwise", "other")
_PRIOR = 0.02  # weight of the wish that a factor be 1, against one run


@dataclass(frozen=True)
class Run:
    """One network that was timed end to end.

    Attributes:
        choices: Its policy.
        ms: Measured milliseconds.
        spread: Relative spread of the measurement.
        role: `fit` (the correction was fitted on it), `held-out` (the error was computed on it) or `search` (measured
            later and used for a refit).
    """

    choices: dict[str, int]
    ms: float
    spread: float
    role: str

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return {"choices": dict(self.choices), "ms": self.ms, "spread": self.spread, "role": self.role}


@dataclass(frozen=True)
class Errors:
    """Relative errors of predictions, as shares.

    Attributes:
        mean: Mean absolute relative error.
        worst: Largest one.
        n: Networks.
    """

    mean: float
    worst: float
    n: int


def fit_factors(sums: NDArray[np.float64], ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative factors for the classes, and a constant, that make the relative error least.

    A weak wish that every factor be 1 keeps classes apart that always occur together in the runs.

    Args:
        sums: Milliseconds of the entries by class, shape (runs, classes).
        ms: Measured milliseconds, shape (runs,).

    Returns:
        Shape (classes + 1,); the last is the constant in milliseconds.
    """
    shares = sums / ms[:, None]
    rows = np.concatenate([shares, 1 / ms[:, None]], axis=1)
    weights = _PRIOR * np.maximum(shares.mean(axis=0), 1e-3) * np.sqrt(len(ms))
    wishes = np.concatenate([np.diag(weights), np.zeros((len(weights), 1))], axis=1)
    factors, _ = nnls(np.concatenate([rows, wishes]), np.concatenate([np.ones(len(ms)), weights]))
    return np.asarray(factors, dtype=np.float64)


def fit_macs(macs: NDArray[np.float64], ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same fit for multiply-accumulates alone: (ms per MAC, constant ms), both non-negative.

    Args:
        macs: Multiply-accumulates, shape (runs,).
        ms: Measured milliseconds, shape (runs,).
    """
    scale = float(macs.max()) or 1.0
    rows = np.stack([macs / scale / ms, 1 / ms], axis=1)
    (slope, constant), _ = nnls(rows, np.ones(len(ms)))
    return np.array([slope / scale, constant])


def errors_of(predicted: NDArray[np.float64], ms: NDArray[np.float64]) -> Errors:
    """Mean and worst relative error of predictions, both shape (runs,)."""
    relative = np.abs(predicted / ms - 1)
    return Errors(float(relative.mean()), float(relative.max()), len(ms))
