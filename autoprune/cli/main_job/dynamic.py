"""`autoprune dynamic`: early exits that really skip."""

from __future__ import annotations

from typing import Any

import typer

from autoprune.cli.options import DryRun, ExperimentFile, Overwrite, Resume, settings_command
from autoprune.pipeline.jobs.settings import DYNAMIC, OF_DYNAMIC
from autoprune.run.experiment import option_group
from autoprune.run.flags import Flags

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune dynamic --model resnet20 --data fashion-mnist --mean-latency 60% --run early"
    panels = {name: option_group(name) for name in OF_DYNAMIC}
    app.command("dynamic", epilog=example)(settings_command(dynamic, OF_DYNAMIC, panels=panels))


def dynamic(
    *,
    experiment_file: ExperimentFile = None,
    settings: dict[str, Any],
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Give a trained network early exits that easy inputs leave through, with a bounded loss, timed on the target.

    The network is not trained; its exits shut, it answers as before. Where exits gain nothing as timed, it is handed
    back and the report says so.
    """
    from autoprune.cli.main_job.whole_run import given_or_stored, runs_of_job
    from autoprune.pipeline.jobs.dynamic.settings import dynamic_settings

    decided = ("latency", "agent")
    given = given_or_stored(experiment_file, settings, dynamic_settings, resume=resume, decided=decided)
    runs_of_job(DYNAMIC, given, Flags(resume, overwrite, dry_run=dry_run))
