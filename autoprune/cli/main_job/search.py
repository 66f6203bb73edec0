"""`autoprune search`: the search alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from autoprune.cli.main_job.joining import join
from autoprune.cli.main_job.whole_run import again, checked_parts, show_plan
from autoprune.cli.options import experiment_command
from autoprune.cli.stopping import resumable
from autoprune.errors import InputError
from autoprune.run.experiment import Experiment
from autoprune.run.flags import Flags
from autoprune.run.sweep import Part

if TYPE_CHECKING:
    from autoprune.pipeline.reporter import Reporter

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune search --model resnet20 --data digits --flops 50% --agent ddpg,optuna --run agents"
    app.command("search", epilog=example)(experiment_command(search, worker=True))


def search(experiment: Experiment, flags: Flags) -> None:
    """Search only (training the dense network first when no weights are given); leaves policy.json."""
    if flags.worker:
        join(experiment)
        return
    if experiment.accuracy_drop is not None:
        raise InputError("--accuracy-drop needs fine-tuning to know what is lost; use autoprune compress")
    with checked_parts(experiment, flags, _check) as parts:
        from autoprune.cli.screen import Screen
        from autoprune.pipeline.watching import watched

        screen = watched(Screen(), experiment)
        for part in parts:
            with resumable(part.experiment.run_dir, again(flags)):
                _one(part, flags, screen)


def _check(experiment: Experiment) -> None:
    from autoprune.pipeline.jobs.registry import job_named

    job_named("search").check(experiment)


def _one(part: Part, flags: Flags, screen: Reporter) -> None:
    from autoprune.foundations.threads import use_threads
    from autoprune.pipeline.jobs.lifecycle import is_finished, run_of_part
    from autoprune.pipeline.jobs.registry import job_named
    from autoprune.pipeline.preflight.checks import preflight
    from autoprune.pipeline.task import load_task

    experiment, job = part.experiment, job_named("search")
    with use_threads(experiment.train_threads):
        with screen.stage("load", "loading the network and its data"):
            task = load_task(experiment)
        if not is_finished(experiment, flags):
            preflight(task, experiment, screen)
        if flags.dry_run:
            show_plan(job, task, experiment, screen, flags)
            return
        with run_of_part(part, flags) as run:
            job.run(task, run, screen)
            typer.echo(f"policy: {run.file('policy.json')}   (autoprune finetune {run.path})")
