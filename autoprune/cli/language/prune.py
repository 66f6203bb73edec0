"""`autoprune llm prune`: zeros, or less of something, in a language model."""

from __future__ import annotations

from typing import Any

import typer

from autoprune.cli.language.settings import chosen_settings, panels_of
from autoprune.cli.options import DryRun, Overwrite, Resume, settings_command
from autoprune.llm.jobs.settings import LanguageSettings

__all__ = ["register"]

_OWN = ("model", "method", "ratio", "sequential", "owl", "damping", "bits", "taylor", "protect", "by_blocks", "dtype")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune llm prune --model smollm2 --method wanda --ratio 2:4 --calibration texts --run sparse"
    panels = panels_of({"Model and method": _OWN})
    command = settings_command(prune, list(panels), panels=panels, of=LanguageSettings)
    app.command("prune", epilog=example)(command)


def prune(
    *, settings: dict[str, Any], resume: Resume = False, overwrite: Overwrite = False, dry_run: DryRun = False
) -> None:
    """Prune a language model by a calibration text, and judge it on two domains before and after.

    The run's folder `pruned` is what `AutoModelForCausalLM.from_pretrained` loads.
    """
    from autoprune.cli.language.shown import print_language_report
    from autoprune.cli.main_job.whole_run import again
    from autoprune.cli.screen import Screen
    from autoprune.cli.stopping import resumable
    from autoprune.llm.jobs.prune import prune_plan, prune_run
    from autoprune.run.flags import Flags

    flags = Flags(resume, overwrite)
    chosen = chosen_settings(LanguageSettings, settings, resume)
    if dry_run:
        typer.echo(prune_plan(chosen, Screen()))
        return
    with resumable(chosen.run_dir, again(flags)):
        result = prune_run(chosen, flags, Screen())
    print_language_report(result.report)
    typer.echo(f"run: {result.run}   (the model: {result.folder})")
