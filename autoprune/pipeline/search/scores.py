"""How the candidates of a search are scored: on which images, in which processes, and who hears of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoprune.envs import RacingMemory, ScoreMemory
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.candidates import candidate_score, local_home
from autoprune.pipeline.search.shared.audience import Audience
from autoprune.pipeline.search.shared.coordinator import coordinated
from autoprune.techniques.homes.base import Home
from autoprune.techniques.racing import PartialScore, Race
from autoprune.techniques.scoring import Scorer, ScoresAt

__all__ = ["Scores", "scores_of"]


@dataclass(frozen=True)
class Scores:
    """What scores the candidates of a search.

    Attributes:
        memory: Scores any policy as the episodes were scored, each once.
        home: Where that is done.
        batch: Episodes of a round.
        race: What gives up policies early; None where every score is taken on all images.
        audience: Who hears of finished episodes beside the run's folder.
    """

    memory: ScoreMemory
    home: Home
    batch: int
    race: Race | None = None
    audience: Audience = field(default_factory=Audience)


def scores_of(problem: Problem, scorer: Scorer, *, several: bool, reporter: Reporter) -> Scores:
    """What scores policies: in this process, in several, or with the workers of a study.

    Args:
        problem: The network and the settings.
        scorer: Of candidates.
        several: Whether policies of several budgets are compared.
        reporter: Told of workers and of a storage that cannot be reached.
    """
    experiment = problem.experiment
    batch: int = problem.run.once("episodes of a round", lambda: experiment.episodes_at_once)
    score = candidate_score(problem, scorer, several=several)
    home, audience = local_home(experiment, score, problem.run.path, problem.task.name, batch), Audience()
    if experiment.storage is not None:
        home, audience = coordinated(problem, score, home, reporter, batch=batch, several=several)
    if isinstance(score, PartialScore):
        race = Race(home, score.count)
        return Scores(RacingMemory(race, experiment.finalists, race.begin), home, batch, race, audience)
    whole = ScoresAt(home)
    return Scores(ScoreMemory(whole, whole.begin), home, batch, None, audience)
