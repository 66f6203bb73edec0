"""`autoprune sensitivity`: score against ratio, decision by decision."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.cli.options import ExperimentFile, Overwrite, Resume, resolve, settings_command
from autoprune.pipeline.jobs.settings import OF_SENSITIVITY, analysis_settings
from autoprune.run.experiment import Experiment, option_group

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune sensitivity --model resnet20 --data digits --flops 50% --run layers"
    panels = {name: option_group(name) for name in OF_SENSITIVITY}
    app.command("sensitivity", epilog=example)(settings_command(sensitivity, OF_SENSITIVITY, panels=panels))


def sensitivity(
    *,
    experiment_file: ExperimentFile = None,
    points: Annotated[int, typer.Option(help="options of each decision that are scored, evenly spread", min=1)] = 4,
    alpha: Annotated[float, typer.Option(help="weight of the score's loss in the importance")] = 1.0,
    beta: Annotated[float, typer.Option(help="weight of 1 / what a unit less saves of the budget's cost")] = 1.0,
    gamma: Annotated[float, typer.Option(help="weight of 1 / what a unit less saves of energy")] = 0.0,
    picture: Annotated[
        Path | None, typer.Option(help="file of the picture (.png, .svg); default: sensitivity.svg in the run")
    ] = None,
    settings: dict[str, Any],
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Cut each decision alone: what the score loses, and what the device saves; a table and a picture.

    The budget's kind says which cost is priced; its amount plays no part. Scores of the same weights and data are
    kept in the cache, and searches use them.
    """
    from autoprune.cli.tools.run_of_analysis import analysed
    from autoprune.cost.importance import ImportanceWeights
    from autoprune.pipeline.jobs.sensitivity import SensitivitySettings, check_sensitivity, sensitivity_job
    from autoprune.reports.figures._matplotlib import require_matplotlib, require_picture
    from autoprune.run.flags import Flags

    if picture is not None:
        require_matplotlib()
        require_picture(picture)
    wanted = SensitivitySettings(points, ImportanceWeights(alpha, beta, gamma))
    given = resolve(experiment_file, settings, resume=resume)
    experiment = Experiment.build(analysis_settings(given.model_dump()))
    content = analysed(
        experiment, Flags(resume, overwrite), check_sensitivity, partial(sensitivity_job, settings=wanted)
    )
    _show(content, experiment.run_dir, picture)


def _show(content: dict[str, Any], folder: Path, picture: Path | None) -> None:
    from rich.console import Console

    from autoprune.errors import MissingExtraError
    from autoprune.reports.sensitivity import sensitivity_lines, sensitivity_picture, sensitivity_table

    Console(highlight=False, soft_wrap=True).print(sensitivity_table(content))
    for line in sensitivity_lines(content):
        typer.echo(line)
    typer.echo(f"figures: {folder / 'sensitivity.json'}")
    out = folder / "sensitivity.svg" if picture is None else picture
    try:
        sensitivity_picture(content, out)
    except MissingExtraError as error:
        if picture is not None:
            raise
        typer.echo(f"no picture: {error}")
    else:
        typer.echo(f"picture: {out}")
