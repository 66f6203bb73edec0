"""`autoprune inspect`: what can be pruned in a model, and what cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("inspect", epilog="Example: autoprune inspect --model resnet20")(inspect)


def inspect(
    model: Annotated[str, typer.Option(help="zoo name, or package.module:factory")],
    data: Annotated[str, typer.Option(help="whose images are fed; not loaded if --shape is given")] = "digits",
    shape: Annotated[str | None, typer.Option(help="shape of one input instead, such as 3,224,224")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="where data sets lie")] = None,
    target: Annotated[str | None, typer.Option(help="whose grid of widths to show")] = None,
    granularity: Annotated[
        str | None, typer.Option(help="kept widths are multiples of this, or by kind: heads=1,channels=8")
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(help="layers that stay as they are: names or patterns")] = None,
    kinds: Annotated[str | None, typer.Option(help="what may be decided on, with commas; block among them")] = None,
    cap: Annotated[list[str] | None, typer.Option(help="PATTERN=SHARE: at most this share of units is removed")] = None,
    tie: Annotated[list[str] | None, typer.Option(help="a pattern whose decisions keep one common share")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Show the coupled groups of a model: members, widths, what is frozen and why, and what can be dropped whole."""
    from autoprune.cli.screen import Screen
    from autoprune.pipeline.inspection import Wishes, inspection, model_and_example

    wishes = Wishes(target, granularity, tuple(skip or ()), kinds, tuple(cap or ()), tuple(tie or ()))
    with Screen().stage("analyse", f"analysing {model}"):
        network, example = model_and_example(model, data, data_dir, shape)
        content = inspection(model, network, example, wishes)
    if as_json:
        typer.echo(json.dumps(content, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True, markup=False)
    table = Table(title=f"{model}: what can be pruned")
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


def _blocks_table(content: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("block", "parameters", "MACs", "widths inside", title="what can be dropped, with --kinds ...,block")
    for row in content["blocks"]:
        table.add_row(row["name"], f"{row['params']:,}", f"{row['flops']:,}", "\n".join(row["widths"]))
    for name, reason in content["undroppable"].items():
        table.add_row(name, "", "", f"cannot be dropped: {reason}")
    return table
