"""`autoprune inspect`: what can be pruned in a model, and what cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from autoprune.graph import Analysis, Block

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
    granularity: Annotated[int | None, typer.Option(help="kept widths are multiples of this", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Show the coupled groups of a model: members, widths, what is frozen and why, and what can be dropped whole."""
    content = _content(model, data, shape, data_dir, target, granularity)
    if as_json:
        typer.echo(json.dumps(content, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=f"{model}: what can be pruned")
    for heading in ("decision", "units", "options", "produced by", "read by"):
        table.add_column(heading, overflow="fold")
    for row in content["decisions"]:
        options = row["options"]
        shown = ", ".join(map(str, options)) if len(options) <= 6 else f"{options[0]}, {options[1]} … {options[-1]}"
        table.add_row(row["name"], str(row["width"]), shown, "\n".join(row["producers"]), "\n".join(row["consumers"]))
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


def _content(
    model: str, data: str, shape: str | None, data_dir: Path | None, target: str | None, granularity: int | None
) -> dict[str, Any]:
    from autoprune.graph import analyse
    from autoprune.pruning.structured import space_of

    if shape is None:
        from autoprune.data import load
        from autoprune.models import build

        loaded = load(data, data_dir)
        arguments = {"in_channels": loaded.shape[0], "classes": loaded.classes, "image_size": loaded.shape[-1]}
        network, example = build(model, **arguments, seed=0), loaded.example
    else:
        from autoprune.pipeline.task import example_of_shape, model_of_shape

        example = example_of_shape(shape)
        network = model_of_shape(model, example)
    analysis = analyse(network, example)
    space = space_of(analysis, target=target, granularity=granularity, name=model)
    groups = {group.name: group for group in analysis.groups}
    return {
        "model": model,
        "decisions": [
            {
                "name": d.name,
                "kind": d.kind,
                "width": d.width,
                "options": list(d.options),
                "producers": list(groups[d.name].producers),
                "consumers": list(groups[d.name].consumers),
            }
            for d in space.decisions
        ],
        "frozen": dict(space.frozen),
        "blocks": [_block(analysis, block) for block in analysis.blocks],
        "undroppable": dict(analysis.undroppable),
        "params": analysis.param_total({}),
        "flops": analysis.macs({}),
    }


def _block(analysis: Analysis, block: Block) -> dict[str, Any]:
    """A block with what it takes with it."""
    from autoprune.graph.blocks import alive

    without = {block.name: 0}
    return {
        "name": block.name,
        "modules": [swap.module for swap in block.swaps],
        "inside": list(block.outer),
        "widths": [g.name for g in analysis.groups if not alive(analysis.within(g.name), without)],
        "params": analysis.param_total() - analysis.param_total(without),
        "flops": analysis.macs() - analysis.macs(without),
    }
