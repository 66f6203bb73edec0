"""Scores that were paid for once are not paid for twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from autoprune.errors import AutopruneError

__all__ = ["Score", "ScoreMemory"]

Score = Callable[[Mapping[str, int]], float]


class ScoreMemory:
    """A score that remembers what it answered, so that a repeated policy is never evaluated again.

    Args:
        score: Of a policy, from its kept units by decision; a number in its own unit, deterministic.

    Attributes:
        evaluations: How often `score` was really called.
    """

    def __init__(self, score: Score) -> None:
        self._score = score
        self._known: dict[tuple[tuple[str, int], ...], float] = {}
        self.evaluations = 0

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, choices: Mapping[str, int]) -> bool:
        return _key(choices) in self._known

    def __call__(self, choices: Mapping[str, int]) -> float:
        """Score of a policy, from memory if it was scored before.

        Raises:
            AutopruneError: If the score is not a finite number.
        """
        key = _key(choices)
        if key not in self._known:
            self.evaluations += 1
            score = float(self._score(dict(choices)))
            if not np.isfinite(score):
                raise AutopruneError(f"the evaluation gave {score} for {dict(choices)}; it must be a finite number")
            self._known[key] = score
        return self._known[key]

    @property
    def policies(self) -> list[dict[str, int]]:
        """Every policy that it knows the score of, in the order in which it met them."""
        return [dict(key) for key in self._known]

    def remember(self, choices: Mapping[str, int], score: float) -> None:
        """Take over a score from earlier, such as a row of a resumed run."""
        self._known[_key(choices)] = float(score)


def _key(choices: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(choices.items()))
