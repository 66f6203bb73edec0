"""`autoprune dynamic`: early exits that really skip."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from autoprune.cli.options import ExperimentFile, Overwrite, Resume, resolve, settings_command
from autoprune.pipeline.jobs.dynamic.settings import DynamicSettings, dynamic_settings
from autoprune.pipeline.jobs.settings import OF_DYNAMIC
from autoprune.run.experiment import Experiment, option_group

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune dynamic --model resnet20 --data fashion-mnist --mean-latency 60% --run early"
    panels = {name: option_group(name) for name in OF_DYNAMIC}
    app.command("dynamic", epilog=example)(settings_command(dynamic, OF_DYNAMIC, panels=panels))


def dynamic(
    *,
    experiment_file: ExperimentFile = None,
    mean_latency: Annotated[
        str | None,
        typer.Option(help="largest mean time: 60% of dense, or 2.5ms; default: the least that --max-drop allows"),
    ] = None,
    worst: Annotated[str, typer.Option(help="longest path, likewise")] = "110%",
    p95: Annotated[str | None, typer.Option(help="the time that 95 % of the inputs keep, likewise")] = None,
    max_drop: Annotated[
        float, typer.Option(help="percentage points of accuracy that may be lost on new inputs; a bound keeps it")
    ] = 0.5,
    exits: Annotated[int, typer.Option(help="most exits, 1 to 3")] = 3,
    head_epochs: Annotated[int, typer.Option(help="passes over the values that the heads are trained on")] = 15,
    head_samples: Annotated[int, typer.Option(help="training samples that the heads learn from at most")] = 20_000,
    settings: dict[str, Any],
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Give a trained network early exits that easy inputs leave through, with a bounded loss, timed on the target.

    The network is not trained; its exits shut, it answers as before. Where exits gain nothing as timed, it is handed
    back and the report says so.
    """
    from autoprune.cli.screen import print_report
    from autoprune.cli.tools.run_of_analysis import analysed
    from autoprune.pipeline.jobs.dynamic.job import check_dynamic, dynamic_job
    from autoprune.reports import write_html
    from autoprune.run.flags import Flags

    wanted = DynamicSettings(mean_latency, worst, p95, max_drop, exits, head_epochs, head_samples)
    given = resolve(experiment_file, settings, resume=resume)
    experiment = Experiment.build(dynamic_settings(_without_budget(given)))
    found = analysed(experiment, Flags(resume, overwrite), check_dynamic, partial(dynamic_job, settings=wanted))
    print_report(found.report)
    typer.echo(f"page: {write_html(experiment.run_dir)}")


def _without_budget(experiment: Experiment) -> dict[str, Any]:
    """The settings but for what `dynamic_settings` itself says: a run that goes on has stored it."""
    return experiment.model_dump(exclude={"latency", "agent"})
