"""`autoprune progressive`: prune a little, measure on the device, adjust, until the target is met."""

from __future__ import annotations

import typer

from autoprune.cli.main_job.whole_run import runs_of_job
from autoprune.cli.options import experiment_command
from autoprune.pipeline.jobs.settings import OF_PROGRESSIVE, PROGRESSIVE
from autoprune.run.experiment import Experiment
from autoprune.run.flags import Flags

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
    runs_of_job(PROGRESSIVE, experiment, flags)
