"""`autoprune compress`: the main job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from autoprune.cli.main_job.whole_run import whole_runs
from autoprune.cli.options import experiment_command
from autoprune.run.experiment import Experiment
from autoprune.run.flags import Flags

if TYPE_CHECKING:
    from autoprune.pipeline.jobs.lifecycle import Result
    from autoprune.pipeline.reporter import Talk
    from autoprune.pipeline.task import Task
    from autoprune.run.directory import RunDir

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune compress --model resnet20 --data fashion-mnist --latency 50% --run fashion"
    app.command("compress", epilog=example)(experiment_command(compress, onnx=True))


def compress(experiment: Experiment, flags: Flags) -> None:
    """Train or load, profile, search, fine-tune, verify on the target, report: the main job."""
    whole_runs(experiment, flags, _check, _job)


def _check(experiment: Experiment) -> None:
    from autoprune.pipeline.jobs.lifecycle import check_settings

    check_settings(experiment)


def _job(task: Task, run: RunDir, talk: Talk) -> Result:
    from autoprune.pipeline.jobs.accuracy_drop import accuracy_drop_job
    from autoprune.pipeline.jobs.compress import compress_job
    from autoprune.pipeline.task import load_task

    if run.experiment.accuracy_drop is not None:
        return accuracy_drop_job(run.experiment, run, talk, load_task)
    return compress_job(task, run, talk)
