"""`autoprune compress`: the main job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from autoprune.cli.main_job.joining import join
from autoprune.cli.main_job.whole_run import whole_runs
from autoprune.cli.options import experiment_command
from autoprune.run.experiment import Experiment
from autoprune.run.flags import Flags

if TYPE_CHECKING:
    from autoprune.pipeline.jobs.base import Job

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune compress --model resnet20 --data fashion-mnist --latency 50% --run fashion"
    app.command("compress", epilog=example)(experiment_command(compress, onnx=True, worker=True))


def compress(experiment: Experiment, flags: Flags) -> None:
    """Train or load, profile, search, fine-tune, verify on the target, report: the main job."""
    if flags.worker:
        join(experiment)
        return
    whole_runs(experiment, flags, _job)


def _job(experiment: Experiment) -> Job:
    from autoprune.pipeline.jobs.registry import compressing

    return compressing(experiment)
