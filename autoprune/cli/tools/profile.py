"""`autoprune profile`: a latency table for a model on a target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("profile", epilog="Example: autoprune profile --model resnet20 --data fashion-mnist --out table.json")(
        profile
    )


def profile(
    experiment_file: Annotated[
        Path | None, typer.Argument(metavar="[EXPERIMENT.yaml]", help="settings in YAML; options override it")
    ] = None,
    model: Annotated[str | None, typer.Option(help="zoo name, or package.module:factory \\[default: resnet20]")] = None,
    data: Annotated[str | None, typer.Option(help="whose images are fed \\[default: digits]")] = None,
    data_dir: Annotated[str | None, typer.Option(help="where data sets lie")] = None,
    target: Annotated[str | None, typer.Option(help="the device's runtime \\[default: onnxruntime]")] = None,
    threads: Annotated[int | None, typer.Option(help="threads of the target \\[default: 1]", min=1)] = None,
    precision: Annotated[str | None, typer.Option(help="f32, bf16 or f16 \\[default: the target's first]")] = None,
    memory_format: Annotated[str | None, typer.Option(help="contiguous or channels_last")] = None,
    target_batch: Annotated[int | None, typer.Option(help="images in the batch \\[default: 1]", min=1)] = None,
    granularity: Annotated[
        str | None, typer.Option(help="kept widths are multiples of this, or by kind: heads=1,channels=8")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="of the policies that the correction is fitted on")] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="device table: its settled layers are not measured again, new ones are added; shared by models"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="the latency table's file")] = Path("latency_table.json"),
) -> None:
    """Build a latency table for a model on a target, and say how far its predictions are from measurements.

    An interrupted profile leaves what it has measured beside the table's file, and the same command goes on with it.
    """
    from autoprune.cli.options import resolve
    from autoprune.cli.screen import Screen
    from autoprune.cli.stopping import saying
    from autoprune.errors import InputError
    from autoprune.graph import analyse
    from autoprune.hardware import DeviceTable, LatencyTable
    from autoprune.hardware.grid.probing import probe
    from autoprune.hardware.tables.device_table import check_fingerprint
    from autoprune.pipeline.device import target_of
    from autoprune.pipeline.problem import profiled, space_for
    from autoprune.pipeline.task import load_task

    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file")
    given = {"model": model, "data": data, "data_dir": data_dir, "target": target, "threads": threads}
    given |= {"precision": precision, "memory_format": memory_format, "target_batch": target_batch}
    given |= {"granularity": granularity, "seed": seed, "table": None if table is None else str(table)}
    settings = {name: value for name, value in given.items() if value is not None}
    experiment = resolve(experiment_file, settings, resume=False)
    if experiment.table is not None and Path(experiment.table).resolve() == out.resolve():
        raise InputError(f"--out {out} would replace the table that --table names; name another file")
    device = target_of(experiment)
    device.require()
    if experiment.table is not None:
        known = DeviceTable.open(experiment.table, device.fingerprint())  # refused before minutes of work
        typer.echo(f"{len(known.entries)} layers of this device are known from {experiment.table}", err=True)
    screen = Screen()
    with screen.stage("load", "loading the network and its data"):
        task = load_task(experiment)
    with screen.stage("analyse", f"analysing {task.name}"):
        analysis = analyse(task.model, task.example)
    part = out.with_name(f"{out.name}.part")
    begun = LatencyTable.load(part) if part.exists() else None
    if begun is not None:
        try:
            check_fingerprint(begun.fingerprint, device.fingerprint())
        except InputError as error:
            raise InputError(
                f"{part} is of a profile that was interrupted on another target; remove it, or name another --out"
                f" ({error})"
            ) from error
    with saying(lambda: _interrupted(part)):
        if experiment.granule is None:
            with screen.stage("profile", f"probing widths on {device.name}"):
                found = probe(device)
            screen.say(f"granule of {device.name}: {found.granule} channels ({found.reason})")
        with screen.stage("analyse", f"laying out what may go in {task.name}"):
            space = space_for(experiment, analysis, device, experiment.granule, task.name)
        with screen.stage("profile", f"measuring layers on {device.name}") as bar:
            result = profiled(task, experiment, device, analysis, space, part, begun, bar)
        result.save(out)
        part.unlink(missing_ok=True)
    typer.echo(result.summary())
    typer.echo(f"table: {out}")


def _interrupted(part: Path) -> str:
    if not part.exists():
        return "interrupted; nothing had been measured"
    return f"interrupted; {part} keeps what is measured: the same command goes on"
