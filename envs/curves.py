"""What each decision costs in score when it alone is cut: what solvers maximise, and sensitivity analysis measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError
from autoprune.space import Decision, SearchSpace, Stage

__all__ = ["Curves"]

_OF_FORMATS = 0.01  # integers take next to nothing of a trained network's score
_ASSUMED = 0.002  # of the assumed curve under every measured one: a score of few images has flat places


@dataclass(frozen=True, eq=False)
class Curves:
    """Predicted loss of score of every option, by decision; the loss of a policy is the sum over its decisions.

    Attributes:
        losses: A row a decision, shape (options,): what the score loses if this decision alone takes the option, in
            the score's unit, larger is worse; 0 where it is whole, never less where fewer units are kept.
    """

    losses: tuple[NDArray[np.float64], ...]

    @classmethod
    def assumed(cls, space: SearchSpace) -> Curves:
        """Curves of a network of which nothing was measured: the square of the share removed, alike for all."""
        return cls(tuple(_squares(decision) for decision in space.decisions))

    @classmethod
    def measured(cls, space: SearchSpace, merits: Mapping[str, Mapping[int, float]], dense: float) -> Curves:
        """Curves through measured points: straight between them, and never rising where more is removed.

        A small part of the assumed curve is added, so that of two cuts without a measured loss the smaller is better.

        Args:
            space: The decisions.
            merits: Decision -> kept units -> merit (the larger the better) with this decision alone cut. The least
                option must be among them.
            dense: Merit of the network with nothing cut.

        Raises:
            InputError: If a decision that can be cut lacks its least option.
        """
        return cls(tuple(_through(decision, merits.get(decision.name, {}), dense) for decision in space.decisions))

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predicted losses of option numbers in canonical form, (policies, decisions), shape (policies,)."""
        total = np.zeros(len(rows))
        for d, losses in enumerate(self.losses):
            total += losses[rows[:, d]]
        return total


def _squares(decision: Decision) -> NDArray[np.float64]:
    """The square of the share of units removed, by option; of bits a hundredth of it."""
    scale = _OF_FORMATS if decision.traits.stage is Stage.FORMAT else 1.0
    removed: NDArray[np.float64] = 1.0 - np.asarray(decision.options, dtype=np.float64) / decision.width
    return scale * removed**2


def _through(decision: Decision, merits: Mapping[int, float], dense: float) -> NDArray[np.float64]:
    if len(decision.options) > 1 and decision.options[0] not in merits:
        raise InputError(f"the curve of {decision.name!r} has no point at its least option, {decision.options[0]}")
    points = {**merits, decision.width: dense}
    kept = sorted(points)
    lost = np.maximum(0.0, dense - np.asarray([points[units] for units in kept]))
    rising = np.maximum.accumulate(lost[::-1])[::-1]
    return np.interp(decision.options, kept, rising) + _ASSUMED * _squares(decision)
