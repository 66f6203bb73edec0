"""What the commands show while they work, and how they print what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from autoprune.cli import crash_report
from autoprune.cli.stopping import killed
from autoprune.pipeline.reporter import Bar, Reporter

if TYPE_CHECKING:
    from autoprune.pipeline.jobs.base import Result

__all__ = ["Screen", "print_report", "print_result"]


class Screen(Reporter):
    """Sentences and progress bars on standard error; results go to standard output."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """One line."""
        self.console.print(sentence, markup=False)

    @contextmanager
    def stage(self, name: str, what: str, total: int | None = None, done: int = 0) -> Iterator[Bar]:
        """A stage of the job; the process does not die in it without a word."""
        with crash_report.at(killed(what)), super().stage(name, what, total, done) as bar:
            yield bar

    @contextmanager
    def open_bar(self, what: str, total: int | None) -> Iterator[Bar]:
        """A progress bar on a terminal, a line now and then elsewhere."""
        from autoprune.reports.progress import Progress

        with Progress(what, total, self.console) as progress:
            yield progress


def print_report(report: Mapping[str, Any]) -> None:
    """The table of a report and the sentences under it."""
    from autoprune.reports.codesign import codesign_lines, is_codesign
    from autoprune.reports.dynamic import dynamic_lines, is_dynamic
    from autoprune.reports.lottery import is_lottery, lottery_lines, lottery_tables
    from autoprune.reports.quantization import is_quantization, quantization_lines, quantization_tables
    from autoprune.reports.sparsity import is_sparsity, sparsity_layers, sparsity_lines, sparsity_table
    from autoprune.reports.tables import summary_lines, summary_table

    console = Console(highlight=False, soft_wrap=True)
    kinds: tuple[tuple[Any, Any, Any], ...] = (
        (is_sparsity, lambda content: (sparsity_layers(content), sparsity_table(content)), sparsity_lines),
        (is_lottery, lottery_tables, lottery_lines),
        (is_quantization, quantization_tables, quantization_lines),
        (is_codesign, lambda _: (), codesign_lines),
        (is_dynamic, lambda _: (), dynamic_lines),
    )
    pruned = (None, lambda content: (summary_table(content),), summary_lines)
    _, tables_of, lines_of = next((kind for kind in kinds if kind[0](report)), pruned)
    for table in tables_of(report):
        console.print(table)
    for line in lines_of(report):
        console.print(line, markup=False)


def print_result(result: Result) -> None:
    """What a job came to, and where it lies."""
    print_report(result.report)
    if result.run is not None:
        logs = result.run / "tensorboard"  # a job of several jobs has one in each of them
        typer.echo(f"run: {result.run}   (tensorboard --logdir {logs if logs.is_dir() else result.run})")
