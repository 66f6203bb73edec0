"""The contract of a home: it scores candidates, some of them at the same time perhaps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from autoprune.run.score import Estimate

__all__ = ["CandidateScore", "Home", "ScoreJob", "Scored"]


@dataclass(frozen=True, eq=False)
class ScoreJob:
    """A candidate to be scored.

    Attributes:
        choices: Kept units by decision.
        against: Which images its rival classifies rightly, bool (images,); None to take the score on all images.
    """

    choices: Mapping[str, int]
    against: Tensor | None = None

    @property
    def key(self) -> tuple[tuple[str, int], ...]:
        """The candidate, whatever order its decisions come in."""
        return tuple(sorted(self.choices.items()))


@dataclass(frozen=True, eq=False)
class Scored:
    """What scoring a candidate gave.

    Attributes:
        estimate: Its score.
        answers: Which of the images seen it classifies rightly, bool (images seen,); None of a score that does not
            count images.
        seconds: Time that the images took.
    """

    estimate: Estimate
    answers: Tensor | None = None
    seconds: float = 0.0


CandidateScore = Callable[[ScoreJob], Scored]
"""What every home runs. It depends on the job alone; to be sent to another process it has to be picklable."""


class Home(ABC):
    """Scores candidates; a context manager that leaves nothing running behind.

    The score of a candidate is the same in every home, in whatever order and however often it is asked for: a home
    whose worker was lost scores the candidate again. A home that was closed can be used again.

    Args:
        score: Scores one candidate.
    """

    def __init__(self, score: CandidateScore) -> None:
        self._score = score

    @property
    def capacity(self) -> int:
        """How many candidates are scored at the same time."""
        return 1

    def begin(self, jobs: Sequence[ScoreJob]) -> None:  # noqa: B027  # a home that scores one at a time need not know
        """Candidates that will all be asked for, of which none has been begun.

        Args:
            jobs: In the order in which they will be asked for.
        """

    @abstractmethod
    def score(self, job: ScoreJob) -> Scored:
        """Score of a candidate, begun before or not.

        Raises:
            InputError: If it cannot be scored.
        """

    def close(self) -> None:  # noqa: B027  # nothing runs in the background of most
        """End whatever runs in the background; what was begun and not asked for is dropped."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
