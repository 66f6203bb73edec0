"""What scores a candidate, and where this process does it: the same for a search's own process and for its workers."""

from __future__ import annotations

from pathlib import Path

from autoprune.evaluation import accuracy
from autoprune.pipeline.problem import Problem
from autoprune.run.settings import SharedSettings
from autoprune.techniques.homes.actors import Actors
from autoprune.techniques.homes.base import CandidateScore, Home
from autoprune.techniques.homes.inline import Inline
from autoprune.techniques.homes.pool import Pool
from autoprune.techniques.racing import PartialScore, shuffled
from autoprune.techniques.scoring import Scorer, WholeScore

__all__ = ["candidate_score", "local_home", "scorer_of"]

_RACE_ERROR = 0.01  # chance at most that a policy which belongs to the finalists is given up
_FILE = "checkpoint/candidates.pt"  # what processes that score candidates read; there while they run


def scorer_of(problem: Problem) -> Scorer:
    """Scores candidates on the part of the search split that episodes have."""
    networks = problem.stack.candidates(problem.task.model)
    return Scorer(networks, problem.candidate_weights, problem.task.search_parts[0], problem.task.judge.score)


def candidate_score(problem: Problem, scorer: Scorer, *, several: bool) -> CandidateScore:
    """What scores a candidate; only of a plain accuracy is known what a part of the images says of it.

    Args:
        problem: The network and the settings.
        scorer: Of candidates.
        several: Whether policies of several budgets are compared, of which the cheaper is often the worse.
    """
    task = problem.task
    if problem.experiment.fidelity == "racing" and not several and task.evaluate is accuracy:
        mixed = shuffled(task.search_parts[0])
        if mixed is not None:
            return PartialScore(scorer, mixed, task.judge.right_answers, _RACE_ERROR)
    return WholeScore(scorer)


def local_home(settings: SharedSettings, score: CandidateScore, folder: Path, name: str, batch: int) -> Home:
    """In rounds of one this process with all its threads, else one thread for each candidate: here or elsewhere.

    Args:
        settings: How many processes or actors there are.
        score: Scores one candidate.
        folder: Of the run, for what processes read.
        name: The network, for messages.
        batch: Episodes of a round.

    Raises:
        MissingExtraError: If actors are asked for and Ray is not installed.
    """
    if batch == 1:
        return Inline(score)
    if settings.ray is not None:
        return Actors(score, settings.ray, settings.workers, batch)
    if settings.workers == 1:
        return Inline(score, threads=1)
    return Pool(score, settings.workers, folder / _FILE, f"the network {name}")
