"""`autoprune search`: the search alone."""

from __future__ import annotations

import typer

from autoprune.cli.options import Flags, experiment_command, sub_experiments
from autoprune.experiment import Experiment

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune search --model resnet20 --data digits --flops 50% --agent ddpg,optuna --run agents"
    app.command("search", epilog=example)(experiment_command(search))


def search(experiment: Experiment, flags: Flags) -> None:
    """Search only (training the dense network first when no weights are given); leaves policy.json."""
    for part in sub_experiments(experiment):
        _one(part, flags)


def _one(experiment: Experiment, flags: Flags) -> None:
    from autoprune.cli.screen import Screen
    from autoprune.pipeline.jobs import check_settings, opened_run, search_job, use_threads
    from autoprune.pipeline.task import load_task

    check_settings(experiment)
    with use_threads(experiment.train_threads):
        task = load_task(experiment)
        with opened_run(experiment, resume=flags.resume, overwrite=flags.overwrite) as run:
            search_job(task, run, Screen())
            typer.echo(f"policy: {run.file('policy.json')}   (autoprune finetune {run.path})")
