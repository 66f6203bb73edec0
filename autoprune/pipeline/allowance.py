"""The time for timing: what profile and verification may take together in a run, and what of it is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from autoprune.foundations.progress import Progress
from autoprune.hardware.timing.effort import EFFORTS, Effort
from autoprune.reports.format import duration
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.run.stopwatch import seconds_of

__all__ = ["announced", "effort_of", "left", "of_profile", "of_session", "within"]

_LAST_WORD = 2.0  # sessions' time that is kept for the last one


def effort_of(experiment: Experiment) -> Effort:
    """How much is timed, as the settings have it."""
    return EFFORTS[experiment.timing]


def announced(experiment: Experiment, seconds: float, *, alone: bool = False) -> str:
    """What a user is told before the first measurement.

    Args:
        experiment: Its `timing`.
        seconds: Of the profile.
        alone: Whether the profile is all that is timed.
    """
    effort = effort_of(experiment)
    if seconds == math.inf:
        return f"timing {experiment.timing}: layers and networks are timed for as long as it takes"
    line = f"timing {experiment.timing}: the profile takes {duration(seconds)} at most"
    if alone:
        return line
    return f"{line}, with verification {duration(effort.seconds)} or {effort.share:.0%} of a longer job"


def of_profile(run: RunDir) -> float:
    """Seconds of the next profile: less where the run has profiled another grid of widths before."""
    effort = effort_of(run.experiment)
    return max(effort.of_profile - seconds_of(run).get("profile", 0.0), 2 * effort.of_session)


def left(run: RunDir, verified: float) -> float:
    """Seconds that verification may still take, the last session's share set aside; none is 0.

    Args:
        run: Its stopwatch says how long everything else has taken so far.
        verified: What sessions with networks took.
    """
    effort, seconds = effort_of(run.experiment), seconds_of(run)
    if effort.seconds == math.inf:
        return math.inf
    profile = seconds.get("profile", 0.0)
    others = sum(seconds.values()) - profile - seconds.get("verify", 0.0)
    return max(0.0, effort.of_job(others) - profile - verified - _LAST_WORD * effort.of_session)


def of_session(run: RunDir, verified: float, *, final: bool) -> float:
    """Seconds of the next session: half of what is left, all of it for the last; a least share in any case."""
    effort, rest = effort_of(run.experiment), left(run, verified)
    if final:
        return rest + _LAST_WORD * effort.of_session
    return max(rest / 2, effort.of_session)


def within(seconds: float, shown: Progress, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Progress of work in several parts, with the time in which all of them end beside each part.

    A bar knows the speed of its part only, so its time left is that part's.

    Args:
        seconds: That all parts take at most, from now on.
        shown: Where the progress goes.
        clock: Seconds, monotonic.
    """
    end = clock() + seconds

    def part(done: int, total: int | None = None, what: str = "") -> None:
        left = end - clock()
        shown(done, total, f"{what} (all parts: {duration(left)} at most)" if 0 < left < math.inf else what)

    return part
