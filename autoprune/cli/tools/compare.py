"""`autoprune compare`: several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        "compare", epilog="Example: autoprune compare runs/agents/ddpg runs/agents/optuna --picture pareto.png"
    )(compare)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="folders of finished runs")],
    picture: Annotated[Path | None, typer.Option(help="also draw accuracy against cost into this file")] = None,
) -> None:
    """Show several runs side by side: a table, and a Pareto picture on request."""
    from rich.console import Console

    from autoprune.reports import compare as compare_runs
    from autoprune.reports import pareto_picture

    Console(highlight=False, soft_wrap=True).print(compare_runs(runs))
    if picture is not None:
        pareto_picture(runs, picture)
        typer.echo(f"picture: {picture}")
