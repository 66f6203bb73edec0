"""How much time goes into timing: what `--timing` chooses between. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name
from autoprune.hardware.contract.protocol import Protocol, TimingPlan

__all__ = ["EFFORTS", "Effort", "effort_named"]

_PROFILE = 0.6  # share of the whole allowance that the profile may take; the rest is for verification


@dataclass(frozen=True)
class Effort:
    """How much is timed, and for how long at most.

    Attributes:
        seconds: What profile and verification may take together in a job that takes little else.
        share: In a longer job: this share of it.
        entries: Layers that are measured at most; the rest is estimated.
        fit_runs: Networks that a table's correction is fitted on.
        held_out_runs: Networks that its error is told by.
        table_passes: Processes in which these are timed.
        passes: Processes in which networks are timed before anything is decided on what they took.
        most: Processes at most while a decision hangs on a network that lies about at the limit.
        last: The same for the last word on a finished network.
        block: Seconds of a block where a network is timed alone.
        repeats: Whether further passes follow whenever two disagree, whatever hangs on them, until four (the last
            word: eight) are taken.
    """

    seconds: float
    share: float
    entries: int = 800
    fit_runs: int = 12
    held_out_runs: int = 6
    table_passes: int = 2
    passes: int = 2
    most: int = 4
    last: int = 6
    block: float = 0.12
    repeats: bool = False

    def of_job(self, others: float) -> float:
        """Seconds that profile and verification may take together in a job.

        Args:
            others: Seconds that everything else in it takes.
        """
        if self.seconds == math.inf:
            return math.inf
        return max(self.seconds, others * self.share / (1 - self.share))

    @property
    def of_session(self) -> float:
        """Seconds that one session with candidates gets, whatever was spent before."""
        return self.seconds / 12

    @property
    def of_profile(self) -> float:
        """Seconds of a job's profile: nothing is known yet of how long the rest takes."""
        return self.seconds if self.seconds == math.inf else _PROFILE * self.seconds

    def plan(self, seconds: float, *, final: bool = False) -> TimingPlan:
        """How networks are timed that are to be compared.

        Args:
            seconds: That it may take.
            final: Whether it is the last word on a finished network.
        """
        most = self.last if final else self.most
        return TimingPlan(Protocol.networks(), self.passes, most, seconds, decides=not self.repeats)

    def alone(self) -> TimingPlan:
        """How a network is timed for its own sake."""
        passes = (self.passes, self.last) if self.repeats else (1, 1)
        return TimingPlan(Protocol(block=self.block), *passes, self.seconds)


EFFORTS: Mapping[str, Effort] = {
    "quick": Effort(
        30.0, 0.05, entries=120, fit_runs=8, held_out_runs=4, table_passes=1, passes=1, most=2, last=3, block=0.06
    ),
    "normal": Effort(120.0, 0.2),
    "careful": Effort(math.inf, 1.0, passes=4, last=8, repeats=True),
}
"""By the name that users write."""


def effort_named(name: str) -> Effort:
    """An effort by its name.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in EFFORTS:
        raise InputError(f"there is no timing {name!r:.40}; {nearest_name(name, EFFORTS)}")
    return EFFORTS[name]
