"""`autoprune dashboard`: pages in the browser about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

_LOOK = 0.5  # seconds between two looks at whether the programs still run


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("dashboard", epilog="Example: autoprune dashboard runs/demo")(dashboard)


def dashboard(
    run: Annotated[Path, typer.Argument(help="folder of a run, finished or under way")],
    port: Annotated[int, typer.Option(help="first port; further ones are tried", min=1, max=65_535)] = 8080,
) -> None:
    """Show a run in the browser, by TensorBoard and optuna-dashboard, on this machine's loopback address alone."""
    import time

    from autoprune.errors import InputError
    from autoprune.reports.dashboards import dashboards_of, served

    pages, missing = dashboards_of(run, port)
    for line in missing:
        typer.echo(line, err=True)
    with served(pages) as processes:
        for page in pages:
            typer.echo(f"{page.name}: {page.url}   ({page.what})")
        typer.echo("Ctrl-C ends it")
        try:
            while all(process.poll() is None for process in processes):
                time.sleep(_LOOK)
        except KeyboardInterrupt:
            return
    ended = next(page for page, process in zip(pages, processes, strict=True) if process.returncode is not None)
    raise InputError(f"{ended.name} has ended; its own lines above say why")
