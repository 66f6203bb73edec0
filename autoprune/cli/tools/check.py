"""What `autoprune targets --check` shows: which signals the machine has, and how repeatable timing is now."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from autoprune.hardware import Target

__all__ = ["show_repeatability", "show_signals"]

_OF_A_GPU = ("energy_j", "power_w", "temperature_c", "frequency_mhz")


def show_signals(console: Console) -> None:
    """Print every signal of the processor and the first GPU: its value and source, or why there is none."""
    from rich.table import Table

    from autoprune.hardware.sensors.telemetry import Sensors

    readings = list(Sensors().read().values())
    table = Table("signal", "value", "source, or why there is none")
    rows = [(reading.name, reading) for reading in readings]
    if importlib.util.find_spec("pynvml") is not None:  # else there is nothing to tell of a GPU
        rows += [(f"gpu {name}", reading) for name, reading in Sensors(gpu=0).read().items() if name in _OF_A_GPU]
    for name, reading in rows:
        value = "-" if reading.value is None else f"{reading.value:,.6g} {reading.unit}".rstrip()
        table.add_row(name, value, reading.source)
    console.print(table)


def show_repeatability(named: Sequence[Target], processes: int, console: Console) -> None:
    """Time ResNet-20 at 28x28 on targets; print figures and a judgement of each.

    Args:
        named: Which targets; if none, all that work here and do not compile for long.
        processes: Fresh processes a target.
        console: Where to.
    """
    import torch

    from autoprune.cli.screen import Screen
    from autoprune.errors import TargetError
    from autoprune.hardware import TARGETS, get_target
    from autoprune.hardware.timing.repeatability import check
    from autoprune.models import resnet20

    every = [get_target(name) for name in TARGETS]
    targets = list(named) or [t for t in every if not t.compiles_long and t.available() is None]
    with Screen().stage("check", "timing ResNet-20 at 28x28") as bar:
        judged, telemetry, disturbance = check(
            targets, resnet20(in_channels=1).eval(), torch.zeros(1, 1, 28, 28), processes=processes, progress=bar
        )
    for name, found in judged.items():
        if isinstance(found, TargetError):
            typer.echo(f"{name}: {found}")
        else:
            typer.echo(f"{name}: {found.figures()}\n    {found.verdict(disturbance)}")
    shown = (telemetry.load, telemetry.stolen, telemetry.quota_throttled_s)
    typer.echo(f"meanwhile, in {telemetry.seconds:.0f} s: " + ", ".join(map(str, shown)))
    if all(isinstance(found, TargetError) for found in judged.values()):
        raise TargetError("none of the targets could be timed; the reasons stand above")
    for left in [] if named else [t for t in every if t.compiles_long and t.available() is None]:
        typer.echo(f"{left.name}: not checked, it compiles for long; --target {left.name} checks it")
