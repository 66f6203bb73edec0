"""A run that looks at a trained network and finishes none: what the commands for it share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from autoprune.run.experiment import Experiment
from autoprune.run.flags import Flags

if TYPE_CHECKING:
    from autoprune.pipeline.reporter import Reporter
    from autoprune.pipeline.task import Task
    from autoprune.run.directory import RunDir

__all__ = ["analysed"]

Found = TypeVar("Found")


def analysed(
    experiment: Experiment,
    flags: Flags,
    check: Callable[[Experiment], None],
    work: Callable[[Task, RunDir, Reporter], Found],
) -> Found:
    """What the work finds, in the experiment's run; an interruption says how to go on.

    Args:
        experiment: The settings.
        flags: How the run's folder is treated.
        check: Refuses, before anything is written, what is wrong in the settings alone.
        work: Called with the loaded network and its data, the run, and a reporter.
    """
    from autoprune.cli.screen import Screen
    from autoprune.cli.stopping import resumable
    from autoprune.foundations.threads import use_threads
    from autoprune.pipeline.jobs.lifecycle import opened_run
    from autoprune.pipeline.preflight.checks import preflight
    from autoprune.pipeline.task import load_task

    with resumable(experiment.run_dir, "the same command with --resume"):
        check(experiment)
        screen = Screen()
        with use_threads(experiment.train_threads):
            with screen.stage("load", "loading the network and its data"):
                task = load_task(experiment)
            preflight(task, experiment, screen)
            with opened_run(experiment, resume=flags.resume, overwrite=flags.overwrite) as run:
                return work(task, run, screen)
