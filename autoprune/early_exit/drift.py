"""Whether inputs leave where the search split's did: exits taken of late against the shares that are expected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["WINDOW", "Drift"]

WINDOW = 200
"""Inputs between two comparisons."""

RISK = 1e-4
"""Probability that inputs of the same kind are reported, one comparison."""

_LEAST_EXPECTED = 0.5  # inputs on a path; rarer paths would make chance look like a change


class Drift:
    """Compares every two hundred inputs with the expected shares, by Pearson's chi-squared test.

    Thresholds keep their promise for inputs like those they were chosen on. Where other inputs come, more of them go to
    the end, or leave elsewhere: labels are not needed to see that.

    Args:
        expected: Share of the inputs on each path, that to the end last.

    Attributes:
        found: Whether the last whole window was unlike them.
        risk: The probability of such a window by chance; 1 before the first.
    """

    def __init__(self, expected: Sequence[float]) -> None:
        shares = np.maximum(np.asarray(expected, dtype=float), _LEAST_EXPECTED / WINDOW)
        self._expected = WINDOW * shares / shares.sum()
        self._counts = np.zeros(len(shares))
        self.risk = 1.0

    @property
    def found(self) -> bool:
        """Whether the last whole window was unlike what is expected."""
        return self.risk < RISK

    @property
    def shares(self) -> tuple[float, ...]:
        """The expected ones."""
        return tuple((self._expected / self._expected.sum()).tolist())

    def add(self, taken: Iterable[int]) -> bool:
        """Count inputs; whether a window ended with them that is unlike, and the one before was not.

        Args:
            taken: The exit of each, the end as the highest number.
        """
        begun = False
        for number in taken:
            self._counts[number] += 1
            if self._counts.sum() < WINDOW:
                continue
            before, self.risk = self.found, self._probability()
            self._counts[:] = 0
            begun |= self.found and not before
        return begun

    def _probability(self) -> float:
        from scipy.stats import chi2

        statistic = float(((self._counts - self._expected) ** 2 / self._expected).sum())
        return float(chi2.sf(statistic, len(self._counts) - 1))
