"""`autoprune report`: one page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("report", epilog="Example: autoprune report runs/demo")(report)


def report(run: Annotated[Path, typer.Argument(help="folder of a finished run")]) -> None:
    """Write report.html, one self-contained page, and print the table."""
    from autoprune.cli.screen import print_report
    from autoprune.foundations.files import read_json
    from autoprune.llm.jobs.page import is_language_report
    from autoprune.reports import write_html
    from autoprune.run.directory import read_settings

    file = run / "report.json"
    if file.exists() and is_language_report(read_json(file, "report")):
        _language(run)
        return
    read_settings(run)
    page = write_html(run)
    print_report(read_json(file, "report"))
    typer.echo(f"page: {page}")


def _language(run: Path) -> None:
    from autoprune.cli.language.shown import print_language_report
    from autoprune.foundations.files import read_json
    from autoprune.llm.jobs.page import write_page

    content = read_json(run / "report.json", "report")
    page = write_page(content, run)
    print_language_report(content)
    typer.echo(f"page: {page}")
