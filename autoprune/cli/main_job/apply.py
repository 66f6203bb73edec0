"""`autoprune apply`: a pruned network from dense weights and a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = (
        "Example: autoprune apply policy.json --model resnet20 --weights dense.safetensors --out small.safetensors"
    )
    app.command("apply", epilog=example)(apply)


def apply(
    policy: Annotated[Path, typer.Argument(help="a policy file")],
    weights: Annotated[Path, typer.Option(help="the dense network's weights")],
    out: Annotated[Path, typer.Option(help="the pruned network's weights, as safetensors")],
    model: Annotated[
        str | None, typer.Option(help="zoo name or package.module:factory \\[default: the policy's]")
    ] = None,
) -> None:
    """Rebuild a pruned network from dense weights and a policy."""
    from autoprune.cli.screen import Screen
    from autoprune.models.sizes import parameter_count
    from autoprune.pipeline.load import apply_files

    with Screen().stage("apply", "rebuilding the pruned network"):
        small = apply_files(policy, model, weights, out)
    typer.echo(f"weights: {out} ({parameter_count(small):,} parameters)")
