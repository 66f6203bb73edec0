"""Scores that were paid for once are not paid for twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from autoprune.errors import AutopruneError
from autoprune.run.records import EpisodeRecord
from autoprune.run.score import Estimate

__all__ = ["RacingMemory", "Score", "ScoreAgainst", "ScoreAhead", "ScoreMemory"]

Choices = Mapping[str, int]

Score = Callable[[Choices], float]

ScoreAgainst = Callable[[Choices, Choices | None], Estimate]
"""A score of (policy, rival) that may be an estimate where the policy is clearly worse than its rival."""

ScoreAhead = Callable[[Sequence[Choices], Choices | None], None]
"""Begins to score (policies, their rival), all of which will be asked for, at the same time."""


class ScoreMemory:
    """A score that remembers what it answered, so that a repeated policy is never evaluated again.

    Args:
        score: Of a policy, from its kept units by decision; a number in its own unit, deterministic.
        ahead: Begins to score the policies of a round; None where each is scored when it is asked for.

    Attributes:
        evaluations: How often `score` was really called.
    """

    def __init__(self, score: Score, ahead: ScoreAhead | None = None) -> None:
        self._score, self._ahead = score, ahead
        self._known: dict[tuple[tuple[str, int], ...], float] = {}
        self._shares: dict[tuple[tuple[str, int], ...], float] = {}  # of estimates alone
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
            found = self._evaluated(dict(choices))
            if not np.isfinite(found.value):
                raise AutopruneError(
                    f"the evaluation gave {found.value} for {dict(choices)}; it must be a finite number"
                )
            self.remember(choices, found.value, found.share)
        return self._known[key]

    def begin(self, policies: Iterable[Choices], rows: Iterable[EpisodeRecord] = ()) -> None:
        """A round begins: its policies are scored by what is known now, whenever and wherever that is done.

        Args:
            policies: In the order in which they will be asked for.
            rows: Episodes of the round that were played before a search was interrupted.
        """
        unknown = [choices for choices in policies if choices not in self]
        rival = self._rival_of_round(unknown)
        for row in rows:
            self.remember(row.choices, row.value, row.share)
        if self._ahead is not None:
            left = {_key(choices): choices for choices in unknown if choices not in self}
            self._ahead(list(left.values()), rival)

    def _rival_of_round(self, policies: Sequence[Choices]) -> dict[str, int] | None:
        return None

    def share(self, choices: Mapping[str, int]) -> float:
        """Share of the images that a policy's score was taken on: 1 unless it was given up early."""
        return self._shares.get(_key(choices), 1.0)

    @property
    def policies(self) -> list[dict[str, int]]:
        """Every policy that it knows the score of, in the order in which it met them."""
        return [dict(key) for key in self._known]

    def remember(self, choices: Mapping[str, int], score: float, share: float = 1.0) -> None:
        """Take over a score from earlier, such as a row of a resumed run, with its share of the images."""
        key = _key(choices)
        self._known[key] = float(score)
        if share < 1:
            self._shares[key] = share

    def _evaluated(self, choices: Mapping[str, int]) -> Estimate:
        return Estimate(float(self._score(choices)))


class RacingMemory(ScoreMemory):
    """A memory whose policies are scored against a rival: the n-th best of those that were scored on all images.

    The rival depends on nothing but the scores known so far, in their order, those known at the beginning of a round
    for all of its policies, so that a resumed search decides as the uninterrupted one.

    Args:
        score: Of a policy and its rival, which is None as long as there are fewer than n.
        place: n: a policy that may be among the n best is never given up.
        ahead: See `ScoreMemory`.
    """

    def __init__(self, score: ScoreAgainst, place: int, ahead: ScoreAhead | None = None) -> None:
        super().__init__(lambda choices: score(choices, None).value, ahead)
        self._against, self._place = score, place
        self._round: dict[tuple[tuple[str, int], ...], dict[str, int] | None] = {}  # policy -> rival

    @property
    def rival(self) -> dict[str, int] | None:
        """The n-th best policy, of equal ones the one that was met first; None if there are fewer."""
        whole = sorted(
            (-score, n, key) for n, (key, score) in enumerate(self._known.items()) if key not in self._shares
        )
        return dict(whole[self._place - 1][2]) if len(whole) >= self._place else None

    def _evaluated(self, choices: Mapping[str, int]) -> Estimate:
        key = _key(choices)
        return self._against(choices, self._round.get(key, self.rival))

    def _rival_of_round(self, policies: Sequence[Choices]) -> dict[str, int] | None:
        rival = self.rival
        self._round = {_key(choices): rival for choices in policies}
        return rival


def _key(choices: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(choices.items()))
