"""`autoprune compare`: several runs side by side, or a grid of agents, budgets and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from autoprune.run.experiment import Experiment

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        "compare", epilog="Example: autoprune compare runs/agents/ddpg runs/agents/optuna --picture pareto.png"
    )(compare)


def compare(
    runs: Annotated[list[Path] | None, typer.Argument(help="folders of finished runs, or of several of them")] = None,
    picture: Annotated[Path | None, typer.Option(help="also draw accuracy against cost into this file")] = None,
    curves: Annotated[
        Path | None, typer.Option(help="also draw the best score so far against evaluations into this file")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="agent that others are held against; default: of each budget the best")
    ] = None,
    grid: Annotated[
        Path | None,
        typer.Option(help="settings file: run what is missing of its agents and budgets for each seed, then compare"),
    ] = None,
    seeds: Annotated[str, typer.Option(help="seeds of the grid")] = "0,1,2",
) -> None:
    """Show several runs side by side: a table, means and paired differences over seeds, pictures on request."""
    from rich.console import Console

    from autoprune.reports import compare as compare_runs
    from autoprune.reports import pareto_picture
    from autoprune.reports.compare import read_runs
    from autoprune.reports.grid import arms_of, curves_picture, grid_table, repeated

    runs = [*(runs or []), *([] if grid is None else _run_grid(grid, seeds))]
    console = Console(highlight=False, soft_wrap=True)
    arms = arms_of(read_runs(runs)) if against or curves or _several(runs) else []
    if repeated(arms) or against:
        console.print(grid_table(arms, against))
    else:
        console.print(compare_runs(runs))
    if picture is not None:
        pareto_picture(runs, picture)
        typer.echo(f"picture: {picture}")
    if curves is not None:
        curves_picture(arms, curves)
        typer.echo(f"curves: {curves}")


def _several(runs: list[Path]) -> bool:
    """Whether the runs may be a grid: two of one agent and budget that differ in their seeds."""
    from autoprune.reports.compare import read_runs

    found = [(str(report.agent), str(report.outcomes), report.seed) for report in read_runs(runs).values()]
    return len({seed for *_, seed in found}) > 1


def _run_grid(path: Path, seeds: str) -> list[Path]:
    """Run what a grid lacks; what is finished stays, and what was interrupted goes on."""
    from autoprune.cli.main_job.compress import compress as run
    from autoprune.run.experiment import Experiment
    from autoprune.run.flags import Flags

    experiment = Experiment.read(path, {})
    for seed in _numbers(seeds):
        run(_of_seed(experiment, seed), Flags(resume=True, overwrite=False))
    return [experiment.run_dir]


def _of_seed(experiment: Experiment, seed: int) -> Experiment:
    folder = experiment.run_dir / f"seed-{seed}"
    name = str(folder) if folder.is_absolute() else f"./{folder}"
    return experiment.replace(seed=seed, run=name)


def _numbers(text: str) -> list[int]:
    from autoprune.errors import InputError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--seeds {text}: write whole numbers with commas, such as 0,1,2")
    return list(dict.fromkeys(map(int, parts)))
