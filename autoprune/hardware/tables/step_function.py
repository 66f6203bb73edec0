"""A step function of two widths, learned on a sample: what a layer that was not measured will cost.

Runtimes compute channels in blocks, so latency is a staircase in the output width and another in the input width.
Interpolation between grid points misses the steps; a fit on rounded-up widths does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

__all__ = ["StepFunction"]

_STEPS = (1, 4, 8, 16, 32)
_LEAST = 1e-4  # ms; below, a clock's resolution would count as a relative error
_PASSES = 4


@dataclass(frozen=True)
class StepFunction:
    """t(in, out) = c0 + c1 I + c2 O + c3 I O, all c >= 0, with I and O the widths rounded up to a step.

    Attributes:
        input_step: Step of the input width.
        output_step: Step of the output width.
        coefficients: c0 to c3 in milliseconds, shape (4,).
        error: Mean relative error on the points that it was learned from.
    """

    input_step: int
    output_step: int
    coefficients: NDArray[np.float64]
    error: float

    def __call__(self, inputs: Sequence[int], outputs: Sequence[int]) -> NDArray[np.float64]:
        """Milliseconds for pairs of widths, shape (n,)."""
        values: NDArray[np.float64] = _features(inputs, outputs, self.input_step, self.output_step) @ self.coefficients
        return values

    @classmethod
    def learn(
        cls,
        inputs: Sequence[int],
        outputs: Sequence[int],
        ms: Sequence[float],
        steps: tuple[int, int] | None = None,
    ) -> StepFunction:
        """Fit every pair of steps by non-negative least squares of the relative error; keep the best pair.

        Args:
            inputs: Input widths, shape (n,), at least one.
            outputs: Output widths, shape (n,).
            ms: Measured milliseconds, shape (n,).
            steps: Of input and output width, where they are known from elsewhere: through a few points goes a function
                of any steps.
        """
        times = np.maximum(np.asarray(ms, dtype=np.float64), _LEAST)
        best: StepFunction | None = None
        for input_step, output_step in [steps] if steps else itertools.product(_STEPS, _STEPS):
            features = _features(inputs, outputs, input_step, output_step)
            coefficients = _robust_fit(features, times)
            error = float(np.mean(np.abs(features @ coefficients - times) / times))
            if best is None or error < best.error - 1e-9:
                best = cls(input_step, output_step, coefficients, error)
        if best is None:
            raise AssertionError("there is at least one pair of steps")
        return best


def _robust_fit(features: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative least squares of the relative error, reweighted so that a few wild points do not pull."""
    weights = np.ones(len(times))
    coefficients = np.zeros(features.shape[1])
    for _ in range(_PASSES):
        rows = features / times[:, None] * weights[:, None]
        coefficients, _norm = nnls(rows, weights)
        off = np.abs(features @ coefficients - times) / times
        weights = np.sqrt(1 / np.maximum(off, 0.01))  # towards the least absolute error
    return np.asarray(coefficients, dtype=np.float64)


def _features(inputs: Sequence[int], outputs: Sequence[int], input_step: int, output_step: int) -> NDArray[np.float64]:
    rows = np.ceil(np.asarray(inputs, dtype=np.float64) / input_step) * input_step
    columns = np.ceil(np.asarray(outputs, dtype=np.float64) / output_step) * output_step
    return np.stack([np.ones_like(rows), rows, columns, rows * columns], axis=1)
