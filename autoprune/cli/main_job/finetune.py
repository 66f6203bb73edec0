"""`autoprune finetune`: from a searched run to the finished network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from autoprune.run.experiment import Experiment
from autoprune.run.flags import Flags

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("finetune", epilog="Example: autoprune finetune runs/agents/ddpg")(finetune)


def finetune(run: Annotated[Path, typer.Argument(help="folder of a run that has been searched")]) -> None:
    """Fine-tune the run's best policies, choose one, verify it on the target, report."""
    from autoprune.cli.stopping import resumable
    from autoprune.pipeline.jobs.lifecycle import require_search

    with resumable(run, "the same command"):
        _finetune(require_search(run))


def _finetune(experiment: Experiment) -> None:
    from autoprune.cli.screen import Screen, print_result
    from autoprune.foundations.threads import use_threads
    from autoprune.pipeline.jobs.lifecycle import finished_result, is_finished, opened_run
    from autoprune.pipeline.jobs.registry import job_named
    from autoprune.pipeline.preflight.checks import preflight
    from autoprune.pipeline.task import load_task
    from autoprune.pipeline.watching import watched
    from autoprune.reports import write_html

    job = job_named("compress")
    job.check(experiment)
    with use_threads(experiment.train_threads):
        screen = watched(Screen(), experiment)
        with screen.stage("load", "loading the network and its data"):
            task = load_task(experiment)
        if not is_finished(experiment, Flags(resume=True, overwrite=False)):
            preflight(task, experiment, screen)
        with opened_run(experiment, resume=True) as run:
            result = finished_result(run) or job.run(task, run, screen)
            if not run.file("report.html").exists():
                write_html(run.path)
    print_result(result)
