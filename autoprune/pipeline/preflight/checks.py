"""All checks, in the order of what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from autoprune.foundations.threads import crowded
from autoprune.foundations.user_code import during
from autoprune.pipeline.preflight.base import Check, Subject
from autoprune.pipeline.preflight.batches import Forward, FurtherBatches, Labels, SmallestBatch
from autoprune.pipeline.preflight.deployment import Export, Timing
from autoprune.pipeline.preflight.functions import LossWithGradient, OwnLoop, OwnOptimizer, Score
from autoprune.pipeline.preflight.storage import SpaceOnDisk
from autoprune.pipeline.preflight.weights import FiniteWeights
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.experiment import Experiment

__all__ = ["CHECKS", "OF_PROFILE", "preflight"]

CHECKS: tuple[type[Check], ...] = (
    FiniteWeights,
    SpaceOnDisk,
    Forward,
    Labels,
    FurtherBatches,
    SmallestBatch,
    Score,
    LossWithGradient,
    OwnOptimizer,
    OwnLoop,
    Timing,
    Export,
)


OF_PROFILE: tuple[type[Check], ...] = (FiniteWeights, Timing)
"""Those that concern a profile, which scores and trains nothing."""


def preflight(
    task: Task,
    experiment: Experiment,
    reporter: Reporter,
    forms: tuple[str, ...] = (),
    checks: Sequence[type[Check]] = CHECKS,
) -> None:
    """Try everything of the user's once, before anything is written or takes long.

    Args:
        task: Left as it is: the network, random generators, loaders.
        experiment: The settings.
        reporter: Shows the stage.
        forms: Formats that the small network will be exported in.
        checks: Which of them the job wants.

    Raises:
        InputError: If something of the user's fails; its last line, and what to do.
        TargetError: If the target does.
    """
    subject = Subject(task, experiment, forms)
    wanted = [kind() for kind in checks if kind().concerns(subject)]
    with reporter.stage("preflight", "trying everything once", len(wanted)) as bar:
        for done, check in enumerate(wanted):
            bar(done, len(wanted), check.what)
            with during(f"trying {check.what}"):
                check.run(subject)
        bar(len(wanted))
    note = None if checks is OF_PROFILE else crowded()
    if note is not None:
        reporter.say(note)
