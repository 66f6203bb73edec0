"""Non-negative fits of costs on measurements, and how wrong predictions are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import stdtrit

__all__ = ["Errors", "Prior", "errors_of", "fit_factors", "fit_macs"]

_PRIOR_LOADS = 0.1  # weight of the wish that a load cost nothing, against one run


@dataclass(frozen=True)
class Errors:
    """Relative errors of predictions, as shares.

    Attributes:
        mean: Mean absolute relative error.
        worst: Largest one.
        n: Networks.
        low: Lower end of the 95 % confidence interval of the mean (Student's t); the mean itself of a single network.
        high: Its upper end.
    """

    mean: float
    worst: float
    n: int
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Prior:
    """How strongly factors are wished to be 1 where runs do not say otherwise.

    Attributes:
        weight: Of the wish, against one run.
        share: A class with a smaller share of the runs' time is held as one with so much: it takes no others' error.
    """

    weight: float = 0.02
    share: float = 1e-3


def fit_factors(
    sums: NDArray[np.float64],
    ms: NDArray[np.float64],
    loads: NDArray[np.float64] | None = None,
    prior: Prior = Prior(),
) -> NDArray[np.float64]:
    """Non-negative factors for the classes, prices of the loads, and a constant, that make the relative error least.

    A weak wish that every factor be 1, and every price 0, keeps apart what always occurs together in the runs.

    Args:
        sums: Milliseconds of the entries by class, shape (runs, classes).
        ms: Measured milliseconds, shape (runs,).
        loads: Millions of weights fetched, shape (runs, loads).
        prior: How strong the wish is.

    Returns:
        Shape (classes + loads + 1,); the last is the constant in milliseconds.
    """
    columns = sums if loads is None else np.concatenate([sums, loads], axis=1)
    wished = np.concatenate([np.ones(sums.shape[1]), np.zeros(columns.shape[1] - sums.shape[1])])
    shares = columns / ms[:, None]
    rows = np.concatenate([shares, 1 / ms[:, None]], axis=1)
    priors = np.where(wished == 1, prior.weight, _PRIOR_LOADS)
    weights = priors * np.maximum(shares.mean(axis=0), prior.share) * np.sqrt(len(ms))
    wishes = np.concatenate([np.diag(weights), np.zeros((len(weights), 1))], axis=1)
    factors, _ = nnls(np.concatenate([rows, wishes]), np.concatenate([np.ones(len(ms)), weights * wished]))
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
    """Mean and worst relative error of predictions, both shape (runs,), and how sure the mean is."""
    relative = np.abs(predicted / ms - 1)
    mean, count = float(relative.mean()), len(ms)
    half = float(stdtrit(count - 1, 0.975) * relative.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
    return Errors(mean, float(relative.max()), count, max(0.0, mean - half), mean + half)
