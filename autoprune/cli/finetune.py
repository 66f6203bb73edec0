"""`autoprune finetune`: from a searched run to the finished network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("finetune", epilog="Example: autoprune finetune runs/agents/ddpg")(finetune)


def finetune(run: Annotated[Path, typer.Argument(help="folder of a run that has been searched")]) -> None:
    """Fine-tune the run's best policies, choose one, verify it on the target, report."""
    from autoprune.cli.screen import Screen, print_result
    from autoprune.pipeline.jobs import (
        check_settings,
        compress_job,
        finished_result,
        opened_run,
        require_search,
        use_threads,
    )
    from autoprune.pipeline.task import load_task
    from autoprune.reports import write_html
    from autoprune.rundir import read_settings

    experiment = read_settings(run)[0].replace(run=f"{run.parent}/{run.name}")
    require_search(run)
    check_settings(experiment)
    with use_threads(experiment.train_threads):
        task = load_task(experiment)
        with opened_run(experiment, resume=True) as opened:
            result = finished_result(task, opened)
            if result is None:
                result = compress_job(task, opened, Screen())
                write_html(opened.path)
    print_result(result)
