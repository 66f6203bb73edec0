"""`autoprune targets`: which runtimes work on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("targets", epilog="Example: autoprune targets --check")(targets)


def targets(
    check: Annotated[
        bool, typer.Option("--check", help="time a small network and say how repeatable that is now")
    ] = False,
) -> None:
    """Say which targets work on this machine, and why the others do not."""
    from rich.console import Console
    from rich.table import Table

    from autoprune.hardware import TARGETS, get_target

    table = Table("target", "available", "runtime", *(["repeatable within"] if check else []))
    for name in TARGETS:
        target = get_target(name)
        missing = target.available()
        row = [name, "yes" if missing is None else f"no: {missing}"]
        row.append(", ".join(target.versions().values()) if missing is None else "-")
        if check:
            row.append(_repeatability(name) if missing is None else "-")
        table.add_row(*row)
    Console(highlight=False, soft_wrap=True).print(table)


def _repeatability(name: str) -> str:
    """Largest difference between three timings of one network, each in a process of its own."""
    import torch

    from autoprune.hardware import get_target, measure
    from autoprune.models import resnet20

    network = resnet20(in_channels=1).eval()
    times = [measure([network], torch.zeros(1, 1, 28, 28), get_target(name))[0].ms for _ in range(3)]
    return f"{(max(times) - min(times)) / min(times):.1%} (ResNet-20 at 28x28, {min(times):.3f} ms, 3 processes)"
