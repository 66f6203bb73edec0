"""`autoprune inspect`: what can be pruned in a model, and what cannot."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.options import settings_command

if TYPE_CHECKING:
    from rich.table import Table


__all__ = ["register"]

_SETTINGS = ("model", "data", "data_dir", "target", "granularity", "skip", "kinds", "cap", "tie")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("inspect", epilog="Example: autoprune inspect --model resnet20")(
        settings_command(inspect, _SETTINGS, required=["model"], silent=["target"])
    )


def inspect(
    settings: dict[str, Any],
    shape: Annotated[
        str | None, typer.Option(help="shape of one input instead of the data's, such as 3,224,224")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Show the coupled groups of a model: members, widths, what is frozen and why, and what can be dropped whole."""
    with _without_collecting():
        name, content = _content(settings, shape)
    if as_json:
        typer.echo(json.dumps(content, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True, markup=False)
    table = Table(title=f"{name}: what can be pruned")
    for heading in ("decision", "kind", "units", "options", "produced by", "read by"):
        table.add_column(heading, overflow="fold")
    for row in content["decisions"]:
        options = row["options"]
        shown = ", ".join(map(str, options)) if len(options) <= 6 else f"{options[0]}, {options[1]} … {options[-1]}"
        layers = ("\n".join(row[what]) for what in ("producers", "consumers"))
        table.add_row(row["name"], row["kind"], str(row["width"]), shown, *layers)
    console.print(table)
    frozen = Table("frozen", "why")
    for name, reason in content["frozen"].items():
        frozen.add_row(name, reason)
    console.print(frozen)
    if content["blocks"] or content["undroppable"]:
        console.print(_blocks_table(content))
    console.print(f"{content['params']:,} parameters, {content['flops']:,} multiply-accumulates", markup=False)


def _content(settings: dict[str, Any], shape: str | None) -> tuple[str, dict[str, Any]]:
    """The model's name, and what is said of it."""
    from autoprune.cli.screen import Screen
    from autoprune.pipeline.inspection import inspection, model_and_example
    from autoprune.run.experiment import Experiment

    wanted = Experiment.build(settings)
    target = wanted.target if "target" in settings else None  # else every width is shown, not a target's
    with Screen().stage("analyse", f"analysing {wanted.model}") as bar:
        network, example = model_and_example(wanted, shape)
        content = inspection(wanted.model, network, example, wanted, target, bar)
    return wanted.model, content


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """No garbage collection: while torch's exporter is imported it takes a fifth of the time, and finds nothing."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _blocks_table(content: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("block", "parameters", "MACs", "widths inside", title="what can be dropped, with --kinds ...,block")
    for row in content["blocks"]:
        table.add_row(row["name"], f"{row['params']:,}", f"{row['flops']:,}", "\n".join(row["widths"]))
    for name, reason in content["undroppable"].items():
        table.add_row(name, "", "", f"cannot be dropped: {reason}")
    return table
