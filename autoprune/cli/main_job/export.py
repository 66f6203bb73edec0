"""`autoprune export`: the small network for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("export", epilog="Example: autoprune export runs/demo --format onnx --out small.onnx")(export)


def export(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx, pt2 (both with a dynamic batch), safetensors, policy, or pretrained (of transformers' models)",
        ),
    ],
    out: Annotated[Path, typer.Option(help="the file to write; for pretrained a folder")],
    layout: Annotated[
        str,
        typer.Option(
            metavar="dense|compressed",
            help="of safetensors: compressed leaves the zeros of 2:4 weights out (autoprune reads it)",
        ),
    ] = "dense",
) -> None:
    """Write the small network of a run; ONNX, pt2 and pretrained are checked against its outputs first."""
    from autoprune.cli.screen import Screen
    from autoprune.pipeline.load import export_run

    with Screen().stage("export", f"writing {form}"):
        export_run(run, form, out, layout)
    size = sum(path.stat().st_size for path in (out.iterdir() if out.is_dir() else [out]))
    typer.echo(f"{form}: {out} ({size:,} bytes)")
