"""`autoprune llm compress`: the best language model within a budget."""

from __future__ import annotations

from typing import Any

import typer

from autoprune.cli.language.settings import chosen_settings, panels_of
from autoprune.cli.options import DryRun, Overwrite, Resume, settings_command
from autoprune.llm.jobs.compress_settings import CompressSettings

__all__ = ["register"]

_OWN = {
    "Model and budget": ("model", "dtype", "params", "nonzeros", "bytes", "prefill_latency", "decode_latency"),
    "Target": ("target", "prompt", "type"),
    "Search": ("agent", "episodes", "warmup", "decisions", "patterns", "zeros_by"),
}


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune llm compress --model smollm2 --params 70% --calibration texts --run small"
    panels = panels_of(_OWN)
    command = settings_command(compress, list(panels), panels=panels, of=CompressSettings)
    app.command("compress", epilog=example)(command)


def compress(
    *, settings: dict[str, Any], resume: Resume = False, overwrite: Overwrite = False, dry_run: DryRun = False
) -> None:
    """Search how many blocks, neurons, heads and channels of a language model stay within a budget.

    The run's folder `pruned`, or `recovered` behind a training, is what `AutoModelForCausalLM.from_pretrained` loads.
    """
    from autoprune.cli.language.shown import print_language_report
    from autoprune.cli.main_job.whole_run import again
    from autoprune.cli.screen import Screen
    from autoprune.cli.stopping import resumable
    from autoprune.llm.jobs.compress import compress_plan, compress_run
    from autoprune.run.flags import Flags

    flags = Flags(resume, overwrite)
    chosen = chosen_settings(CompressSettings, settings, resume)
    if dry_run:
        typer.echo(compress_plan(chosen, Screen()))
        return
    with resumable(chosen.run_dir, again(flags)):
        result = compress_run(chosen, flags, Screen())
    print_language_report(result.report)
    typer.echo(f"run: {result.run}   (the model: {result.folder})")
