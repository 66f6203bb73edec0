"""`autoprune profile`: a latency table for a model on a target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.cli.options import ExperimentFile, resolve, settings_command

__all__ = ["register"]

_SETTINGS = (
    "model", "data", "data_dir", "target", "threads", "precision", "memory_format", "target_batch", "timing",
    "granularity", "skip", "kinds", "seed", "table",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune profile --model resnet20 --data fashion-mnist --out table.json"
    app.command("profile", epilog=example)(settings_command(profile, _SETTINGS))


def profile(
    *,
    experiment_file: ExperimentFile = None,
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(help="the latency table's file")] = Path("latency_table.json"),
) -> None:
    """Build a latency table for a model on a target, and say how far its predictions are from measurements.

    An interrupted profile leaves what it has measured beside the table's file, and the same command goes on with it.
    """
    from autoprune.cli.screen import Screen
    from autoprune.cli.stopping import on_interrupt
    from autoprune.pipeline.jobs.profile import profile_job, unfinished

    experiment = resolve(experiment_file, settings, resume=False)
    with on_interrupt(lambda: _interrupted(unfinished(out))):
        table = profile_job(experiment, out, Screen())
    typer.echo(table.summary())
    typer.echo(f"table: {out}")


def _interrupted(part: Path) -> str:
    if not part.exists():
        return "interrupted; nothing had been measured"
    return f"interrupted; {part} keeps what is measured: the same command goes on"
