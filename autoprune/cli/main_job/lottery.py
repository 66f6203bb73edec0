"""`autoprune lottery`: iterative magnitude pruning with rewinding, its controls, and what may be said of it."""

from __future__ import annotations

from typing import Any

import typer

from autoprune.cli.options import DryRun, ExperimentFile, Onnx, Overwrite, Resume, settings_command
from autoprune.pipeline.jobs.settings import LOTTERY, OF_LOTTERY
from autoprune.run.experiment import option_group
from autoprune.run.flags import Flags

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
    dry_run: DryRun = False,
) -> None:
    """Look for lottery tickets: prune, rewind, train again, round by round, beside controls and over seeds.

    Every arm has the same first weights, schedule and order of images under a seed, so differences are paired. Fewer
    than three seeds are reported, and not judged. A ticket is not faster by itself: the report has its latency.
    """
    from autoprune.cli.main_job.whole_run import given_or_stored, runs_of_job
    from autoprune.pipeline.jobs.lottery.job import lottery_settings

    decided = ("techniques", "kinds")
    given = given_or_stored(experiment_file, settings, lottery_settings, resume=resume, decided=decided)
    runs_of_job(LOTTERY, given, Flags(resume, overwrite, onnx=onnx, dry_run=dry_run))
