"""Which network a run keeps after a training: the trained one, or the one before where training lost score."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from autoprune.pipeline.finish.fine_tuning import FineTuning, begun, fine_tune, reported_score
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.run.trainings import TrainingOutcome

__all__ = ["Kept", "better_of", "fine_tuned"]


@dataclass(frozen=True, eq=False)
class Kept:
    """A network after its training.

    Attributes:
        network: The one that is kept.
        outcome: What training did to it; None if nothing was trained.
    """

    network: nn.Module
    outcome: TrainingOutcome | None = None


def better_of(
    problem: Problem, name: str, seed: int, before: nn.Module, after: nn.Module, reporter: Reporter, what: str
) -> Kept:
    """The trained network, unless it lost score against the one before, or its score is not finite.

    Compared on the images of the search split that no episode was scored on: on the others, the policy's own score
    before training is the best of many, and so optimistic.

    Args:
        problem: The task and its run, which keeps the scores.
        name: Of the training in the run.
        seed: Of the training.
        before: The network that it started from.
        after: The trained one.
        reporter: Hears of a training that lost.
        what: What the training was for, for people.
    """
    task = problem.task

    def scores() -> dict[str, float | None]:
        with reporter.stage("finetune", f"after {what}: comparing with the network before"):
            pair = [reported_score(task, network, task.search_parts[1]) for network in (before, after)]
        return dict(zip(("before", "after"), (each if math.isfinite(each) else None for each in pair), strict=True))

    outcome = TrainingOutcome.judged(task.scored_as, seed, **problem.run.once(f"training {name}", scores))
    if not outcome.kept:
        reporter.say(f"{what}: {outcome.text(task.scored_as)}; try a smaller --lr, or more --finetune-epochs")
    return Kept(after if outcome.kept else before, outcome)


def fine_tuned(problem: Problem, tuning: FineTuning, reporter: Reporter, what: str) -> Kept:
    """The small network of a policy as a run delivers it: fine-tuned (see `fine_tune`), unless that lost score.

    Args:
        problem: The task and its run.
        tuning: Which network, how long; without epochs nothing is trained.
        reporter: Who watches.
        what: What this training is for, for people.
    """
    tuned = fine_tune(problem, tuning, reporter, what)
    if tuning.epochs == 0:
        return Kept(tuned)
    before = begun(problem, tuning, reporter, what)
    return better_of(problem, tuning.name, tuning.seed, before, tuned, reporter, what)
