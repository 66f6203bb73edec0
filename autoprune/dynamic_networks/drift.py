"""Whether inputs leave where the search split's did: exits taken of late against those taken there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["WINDOW", "Drift"]

WINDOW = 200
"""Inputs between two comparisons."""

RISK = 1e-4
"""Probability that inputs of the same kind are reported, one comparison."""


class Drift:
    """Compares every two hundred inputs with the search split's, by Pearson's chi-squared test of two samples.

    Thresholds keep their promise for inputs like those they were chosen on. Where other inputs come, more of them go to
    the end, or leave elsewhere: labels are not needed to see that. The search split is a sample as well: where it is
    small, its shares are no more certain than the window's, and the test allows for both.

    Args:
        expected: Number of the search split's inputs on each path, that to the end last.

    Attributes:
        expected: As given.
        found: Whether the last whole window was unlike them.
        risk: The probability of such a window by chance; 1 before the first.
    """

    def __init__(self, expected: Sequence[int]) -> None:
        self.expected = tuple(expected)
        self._counts = np.zeros(len(self.expected))
        self.risk = 1.0

    @property
    def found(self) -> bool:
        """Whether the last whole window was unlike what is expected."""
        return self.risk < RISK

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

        both = np.stack([self._counts, np.asarray(self.expected, dtype=float)])
        both = both[:, both.sum(0) > 0]
        alike = both.sum(1, keepdims=True) * both.sum(0) / both.sum()
        statistic = float(((both - alike) ** 2 / alike).sum())
        return float(chi2.sf(statistic, max(both.shape[1] - 1, 1)))
