"""How the candidates of a search are scored: on which images, and in which processes."""

from __future__ import annotations

from dataclasses import dataclass

from autoprune.envs import RacingMemory, ScoreMemory
from autoprune.evaluation import accuracy
from autoprune.pipeline.problem import Problem
from autoprune.techniques.homes.base import CandidateScore, Home
from autoprune.techniques.homes.inline import Inline
from autoprune.techniques.homes.pool import Pool
from autoprune.techniques.racing import PartialScore, Race, shuffled
from autoprune.techniques.scoring import Scorer, ScoresAt, WholeScore

__all__ = ["Scores", "scorer_of", "scores_of"]

_RACE_ERROR = 0.01  # chance at most that a policy which belongs to the finalists is given up
_FILE = "checkpoint/candidates.pt"  # what processes that score candidates read; there while they run


@dataclass(frozen=True)
class Scores:
    """What scores the candidates of a search.

    Attributes:
        memory: Scores any policy as the episodes were scored, each once.
        home: Where that is done.
        batch: Episodes of a round.
        race: What gives up policies early; None where every score is taken on all images.
    """

    memory: ScoreMemory
    home: Home
    batch: int
    race: Race | None = None


def scorer_of(problem: Problem) -> Scorer:
    """Scores candidates on the part of the search split that episodes have."""
    networks = problem.stack.candidates(problem.task.model)
    return Scorer(networks, problem.candidate_weights, problem.task.search_parts[0], problem.task.judge.score)


def scores_of(problem: Problem, scorer: Scorer, *, several: bool) -> Scores:
    """What scores policies; only of a plain accuracy is known what a part of the images says of it.

    Args:
        problem: The network and the settings.
        scorer: Of candidates.
        several: Whether policies of several budgets are compared, of which the cheaper is often the worse.
    """
    task, experiment = problem.task, problem.experiment
    batch: int = problem.run.once("episodes of a round", lambda: experiment.episodes_at_once)
    mixed = None
    if experiment.fidelity == "racing" and not several and task.evaluate is accuracy:
        mixed = shuffled(task.search_parts[0])
    if mixed is None:
        home = _home(problem, WholeScore(scorer), batch)
        whole = ScoresAt(home)
        return Scores(ScoreMemory(whole, whole.begin), home, batch)
    partial = PartialScore(scorer, mixed, task.judge.right_answers, _RACE_ERROR)
    home = _home(problem, partial, batch)
    race = Race(home, partial.count)
    return Scores(RacingMemory(race, experiment.finalists, race.begin), home, batch, race)


def _home(problem: Problem, score: CandidateScore, batch: int) -> Home:
    """In rounds of one this process with all its threads, else one thread for each candidate, here or in processes."""
    workers = problem.experiment.workers
    if batch == 1:
        return Inline(score)
    if workers == 1:
        return Inline(score, threads=1)
    return Pool(score, workers, problem.run.file(_FILE), f"the network {problem.task.name}")
