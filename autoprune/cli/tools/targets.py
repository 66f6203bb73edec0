"""`autoprune targets`: which runtimes work on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("targets", epilog="Example: autoprune targets --check")(targets)


def targets(
    check: Annotated[
        bool, typer.Option("--check", help="say how repeatable timing is now, and which signals the machine has")
    ] = False,
    target: Annotated[
        list[str] | None,
        typer.Option(help="check this one only (may be repeated): a name, NAME@option, or package.module:Class"),
    ] = None,
    processes: Annotated[int, typer.Option(help="fresh processes a target in the check", min=2, max=100)] = 3,
) -> None:
    """Say which targets work on this machine, and why the others do not; how repeatable timing is here now."""
    from rich.console import Console

    from autoprune.cli.tools.check import show_repeatability, show_signals
    from autoprune.hardware import get_target

    console = Console(highlight=False, soft_wrap=True, markup=False)
    named = [get_target(name) for name in dict.fromkeys(target or ())]
    for each in named:
        each.require()
    if not named:
        _list(console)
    if check or named:
        show_signals(console)
        show_repeatability(named, processes, console)


def _list(console: Console) -> None:
    """A line a target: whether it works here, by which versions, or what it lacks."""
    from rich.table import Table

    from autoprune.hardware import TARGETS, get_target
    from autoprune.hardware.contract.registry import family_members

    table = Table("target")
    for title in ("available", "runtime"):
        table.add_column(title, overflow="fold")  # an address or a command that is cut is of no use
    for name in (*TARGETS, *family_members()):
        target = get_target(name)
        missing = target.available()
        runtime = _runtime(target.versions()) if missing is None else "-"
        table.add_row(name, "yes" if missing is None else f"no: {missing}", runtime)
    console.print(table)


def _runtime(versions: Mapping[str, str]) -> str:
    return ", ".join(value if name == "runtime" else f"{name} {value}" for name, value in versions.items())
