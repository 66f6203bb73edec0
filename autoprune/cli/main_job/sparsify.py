"""`autoprune sparsify`: zeros by a pattern, a training that keeps them, and what they bring."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autoprune.cli.options import DryRun, ExperimentFile, Onnx, Overwrite, Resume, settings_command
from autoprune.pipeline.jobs.settings import OF_SPARSIFY, SPARSIFY
from autoprune.run.experiment import Experiment, option_group
from autoprune.run.flags import Flags

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = (
        "Example: autoprune sparsify --model resnet20 --data fashion-mnist --pattern 2:4 --recipe asp --run sparse"
    )
    names = [name for name in OF_SPARSIFY if name != "sparse_recipe"]  # --recipe says it
    panels = {name: option_group(name) for name in names}
    app.command("sparsify", epilog=example)(settings_command(sparsify, names, panels=panels))


def sparsify(
    *,
    experiment_file: ExperimentFile = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="one-shot|asp|gradual|sr-ste|regularised",
            help=f"{Experiment.model_fields['sparse_recipe'].description} \\[default: one-shot]",
            rich_help_panel="Sparsity",
        ),
    ] = None,
    settings: dict[str, Any],
    resume: Resume = False,
    overwrite: Overwrite = False,
    onnx: Onnx = False,
    dry_run: DryRun = False,
) -> None:
    """Set weights to zero by a pattern (N:M, blocks, single ones), train with the mask, and say what it brings.

    Zeros alone make nothing smaller or faster: the report has zeros, parameters, bytes on disk and measured latency as
    four figures.
    """
    from autoprune.cli.main_job.whole_run import given_or_stored, runs_of_job
    from autoprune.pipeline.jobs.sparsify.chosen import sparsify_settings

    asked = settings if recipe is None else settings | {"recipe": recipe}
    decided = ("recipe", "techniques", "kinds")
    given = given_or_stored(experiment_file, asked, sparsify_settings, resume=resume, decided=decided)
    runs_of_job(SPARSIFY, given, Flags(resume, overwrite, onnx=onnx, dry_run=dry_run))
