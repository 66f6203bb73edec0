"""`autoprune codesign`: how much of each layer stays, and the accelerator that runs it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autoprune.cli.options import DryRun, ExperimentFile, Overwrite, Resume, settings_command
from autoprune.pipeline.jobs.settings import CODESIGN, OF_CODESIGN
from autoprune.run.experiment import Experiment, option_group
from autoprune.run.flags import Flags

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = (
        "Example: autoprune codesign --model resnet20 --data fashion-mnist --accelerator eie,balanced,systolic"
        " --area 2mm2 --objective edp --run chip"
    )
    names = [name for name in OF_CODESIGN if name != "searched"]  # --search says it
    panels = {name: option_group(name) for name in names}
    app.command("codesign", epilog=example)(settings_command(codesign, names, panels=panels))


def codesign(
    *,
    experiment_file: ExperimentFile = None,
    search: Annotated[
        str | None,
        typer.Option(
            help=f"{Experiment.model_fields['searched'].description} \\[default: pruning,hardware]",
            rich_help_panel="Co-design",
        ),
    ] = None,
    settings: dict[str, Any],
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Search the pattern and the ratios of a pruned network together with the accelerator that runs it, as simulated.

    Cycles, energy and area come from the real masks and a sample of real activations. The front of accuracy and cost
    stands beside five baselines, and the chosen chip is a file that can be used again.
    """
    from autoprune.cli.main_job.whole_run import given_or_stored, runs_of_job
    from autoprune.pipeline.jobs.codesign.settings import DECIDED, codesign_settings

    asked = settings if search is None else settings | {"searched": search}
    given = given_or_stored(experiment_file, asked, codesign_settings, resume=resume, decided=DECIDED)
    runs_of_job(CODESIGN, given, Flags(resume, overwrite, dry_run=dry_run))
