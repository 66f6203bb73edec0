"""How the commands print what came of a language model's run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["print_language_report"]


def print_language_report(report: Mapping[str, Any]) -> None:
    """The table of a report and the sentences under it."""
    from rich.console import Console
    from rich.table import Table

    from autoprune.llm.jobs.page import figure_rows, lines_of

    header, rows = figure_rows(report)
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for line in lines_of(report):
        console.print(line, markup=False)
