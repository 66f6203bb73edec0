"""`autoprune lottery`: iterative magnitude pruning with rewinding, its controls, and what may be said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from autoprune.cli.options import ExperimentFile, Onnx, Overwrite, Resume, resolve, settings_command
from autoprune.pipeline.jobs.settings import LOTTERY, OF_LOTTERY
from autoprune.run.experiment import Experiment, option_group
from autoprune.run.flags import Flags

if TYPE_CHECKING:
    from autoprune.pipeline.jobs.base import Result
    from autoprune.pipeline.reporter import Reporter
    from autoprune.pipeline.task import Task
    from autoprune.run.directory import RunDir

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = (
        "Example: autoprune lottery --model lenet_300_100 --data digits --rounds 15 --seeds 5 --train-epochs 30"
        " --run tickets"
    )
    panels = {name: option_group(name) for name in OF_LOTTERY}
    app.command("lottery", epilog=example)(settings_command(lottery, OF_LOTTERY, panels=panels))


def lottery(
    *,
    experiment_file: ExperimentFile = None,
    settings: dict[str, Any],
    resume: Resume = False,
    overwrite: Overwrite = False,
    onnx: Onnx = False,
) -> None:
    """Look for lottery tickets: prune, rewind, train again, round by round, beside controls and over seeds.

    Every arm has the same first weights, schedule and order of images under a seed, so differences are paired. Fewer
    than three seeds are reported, and not judged. A ticket is not faster by itself: the report has its latency.
    """
    from autoprune.cli.main_job.whole_run import whole_runs
    from autoprune.pipeline.jobs.lottery.job import lottery_settings

    if experiment_file is None and not resume:
        given = Experiment.build(lottery_settings(settings))
    else:
        stored = resolve(
            experiment_file, {k: v for k, v in settings.items() if k in ("run", "model", "data")}, resume=resume
        )
        own = stored.model_dump(exclude_unset=True, exclude={"techniques", "kinds"})
        given = Experiment.build(lottery_settings(own | settings))
    whole_runs(given, Flags(resume, overwrite, onnx=onnx), _check, _job)


def _check(experiment: Experiment) -> None:
    from autoprune.pipeline.jobs.registry import job_named

    job_named(LOTTERY).check(experiment)


def _job(task: Task, run: RunDir, reporter: Reporter) -> Result:
    from autoprune.pipeline.jobs.registry import job_named

    return job_named(LOTTERY).run(task, run, reporter)
