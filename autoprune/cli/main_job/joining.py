"""`--worker`: a command that scores candidates for the run of another process."""

from __future__ import annotations

from autoprune.cli.stopping import on_interrupt
from autoprune.run.experiment import Experiment

__all__ = ["join"]

_LEFT = "the worker left; what it had in hand is scored by others when its lease is over"


def join(experiment: Experiment) -> None:
    """Join the studies that settings name, one after the other: one for each agent and amount of the budget."""
    from autoprune.cli.screen import Screen
    from autoprune.pipeline.jobs.work import studies_of, work
    from autoprune.pipeline.task import load_task
    from autoprune.pipeline.watching import watched

    screen = watched(Screen(), experiment)
    with on_interrupt(lambda: f"interrupted; {_LEFT}"):
        for each in studies_of(experiment):
            work(each, load_task, screen)
