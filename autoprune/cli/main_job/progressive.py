"""`autoprune progressive`: prune a little, measure on the device, adjust, until the target is met."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from autoprune.cli.main_job.whole_run import runs_of_job, show_plan
from autoprune.cli.options import experiment_command
from autoprune.pipeline.jobs.settings import OF_PROGRESSIVE, PROGRESSIVE
from autoprune.run.experiment import Experiment
from autoprune.run.flags import Flags

if TYPE_CHECKING:
    from autoprune.pipeline.reporter import Reporter
    from autoprune.pipeline.task import Task

__all__ = ["register"]

_WITHOUT = tuple(name for name in Experiment.model_fields if name not in OF_PROGRESSIVE)  # there is no agent


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune progressive --model resnet20 --data fashion-mnist --latency 50% --run gentle"
    app.command("progressive", epilog=example)(
        experiment_command(progressive, onnx=True, without=_WITHOUT, fixed={"agent": PROGRESSIVE})
    )


def progressive(experiment: Experiment, flags: Flags) -> None:
    """Prune a little, build, measure on the target, adjust, fine-tune; again and again until the budget is met."""
    runs_of_job(PROGRESSIVE, experiment, flags, _show)


def _show(task: Task, experiment: Experiment, screen: Reporter, *, onnx: bool) -> None:
    from autoprune.pipeline.plan.base import Work

    show_plan(task, experiment, screen, Work.PROGRESSIVE, onnx=onnx)
