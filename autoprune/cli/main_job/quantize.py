"""`autoprune quantize`: eight bits, proved on the target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.cli.options import DryRun, Overwrite, Resume, settings_command
from autoprune.pipeline.jobs.settings import OF_QUANTIZE, QUANTIZE
from autoprune.run.experiment import option_group
from autoprune.run.flags import Flags

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune quantize resnet20 --data fashion-mnist --target openvino --run int8"
    names = [name for name in OF_QUANTIZE if name not in ("model", "from_run")]  # the argument says it
    panels = {name: option_group(name) for name in names}
    app.command("quantize", epilog=example)(settings_command(quantize, names, panels=panels))


def quantize(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="RUN|MODEL", help="folder of a finished run, zoo name, or package.module:factory"),
    ] = None,
    *,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", metavar="FILE.yaml", help="settings in YAML; options override it")
    ] = None,
    settings: dict[str, Any],
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Bring a trained network or a run's to eight bits: types, ranges and layers by what the target measures.

    Nothing is trained without --qat. Where integers are not faster on the target, or lose more than the tolerance,
    16 bits are handed over if the target proves them faster, else float32, and the report says why.
    """
    from autoprune.cli.main_job.whole_run import given_or_stored, runs_of_job
    from autoprune.pipeline.jobs.quantize.settings import named_subject, quantize_settings

    asked = settings if subject is None else settings | named_subject(subject)
    given = given_or_stored(settings_file, asked, quantize_settings, resume=resume, decided=("latency", "agent"))
    runs_of_job(QUANTIZE, given, Flags(resume, overwrite, dry_run=dry_run))
