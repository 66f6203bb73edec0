"""`autoprune llm`: its commands by name."""

from __future__ import annotations

import typer

from autoprune.cli.language import compress, evaluate, export, prune

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.callback(epilog="Example: autoprune llm prune --model smollm2 --calibration texts --run sparse")(language)
    for command in (prune, compress, evaluate, export):
        command.register(app)


def language() -> None:
    """Language models: prune them or compress them to a budget, and judge them by their perplexity."""
