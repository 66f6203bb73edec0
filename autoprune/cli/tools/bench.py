"""`autoprune bench`: dense against pruned on several targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.options import settings_command

if TYPE_CHECKING:
    from autoprune.pipeline.bench.subject import ModelChoice

__all__ = ["register"]

_MODEL = "A model instead of a run"

_SETTINGS = ("threads", "target_batch", "timing", "data_dir", "weights", "data")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune bench runs/demo --targets onnxruntime,openvino@bf16,torch"
    panels = dict.fromkeys(("weights", "data"), _MODEL)
    app.command("bench", epilog=example)(settings_command(bench, _SETTINGS, panels=panels))


def bench(
    subject: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="folder of a finished run, zoo name, or package.module:factory")
    ],
    targets: Annotated[
        str, typer.Option(help="names or specs with commas; all: every one that works here", show_default=True)
    ] = "all",
    repetitions: Annotated[int, typer.Option(help="pairs of timings on each target", min=1, max=1000)] = 5,
    no_accuracy: Annotated[bool, typer.Option("--no-accuracy", help="do not score the networks")] = False,
    out: Annotated[
        Path | None, typer.Option(help="folder for bench.json, bench.html, bench.png; default: the run, if it is one")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
    policy: Annotated[Path | None, typer.Option(help="a policy file: what is pruned", rich_help_panel=_MODEL)] = None,
    keep: Annotated[
        float | None, typer.Option(help="or the share of every decision's units that stays", rich_help_panel=_MODEL)
    ] = None,
    granularity: Annotated[
        int | None, typer.Option(help="with --keep: multiples of this \\[default: 1]", min=1, rich_help_panel=_MODEL)
    ] = None,
    *,
    settings: dict[str, Any],
    shape: Annotated[
        str | None, typer.Option(help="shape of one input instead, such as 3,224,224", rich_help_panel=_MODEL)
    ] = None,
) -> None:
    """Time dense and pruned network side by side on several targets: latency ratio with its spread, accuracy, sizes."""
    from autoprune.cli.screen import Screen
    from autoprune.errors import InputError
    from autoprune.foundations.files import require_writable
    from autoprune.pipeline.bench.compare import bench_subject, chosen_targets
    from autoprune.pipeline.bench.subject import ModelChoice, in_batches_of, is_model, subject_of_model, subject_of_run
    from autoprune.reports.html.bench_page import write_bench
    from autoprune.run.experiment import Experiment

    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    wanted = Experiment.build(settings)
    devices = chosen_targets([name.strip() for name in targets.split(",") if name.strip()], wanted.threads)
    data = settings.get("data")  # without it, the policy's input or the digits are fed
    choice = ModelChoice(subject, policy, keep, granularity, wanted.weights, data, wanted.data_dir, shape)
    screen = Screen()
    with screen.stage("load", "loading the networks and their data"):
        if is_model(subject):
            compared = subject_of_model(choice, scored=not no_accuracy)
        else:
            _refuse_options_of_models(choice)
            compared = subject_of_run(Path(subject), data_dir=wanted.data_dir, scored=not no_accuracy)
            out = out or Path(subject)
    if out is not None:
        require_writable(out)
    content = bench_subject(in_batches_of(compared, wanted.target_batch), devices, repetitions, screen, wanted.timing)
    _print(content, as_json)  # first: a disk that is full by now takes nothing of it away
    written = [] if out is None else write_bench(content, out)
    if not as_json:
        for path in written:
            typer.echo(f"{path.suffix.removeprefix('.')}: {path}")


def _refuse_options_of_models(choice: ModelChoice) -> None:
    from autoprune.errors import InputError

    given = [
        name
        for name in ("policy", "keep", "granularity", "weights", "data", "shape")
        if getattr(choice, name) is not None
    ]
    if given:
        raise InputError(f"--{given[0]} is for a model; a run says itself what was pruned, and on which data")


def _print(content: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(content, indent=1))
        return
    from rich.console import Console

    from autoprune.reports.bench import bench_lines, bench_tables

    console = Console(highlight=False, soft_wrap=True)
    for shown in bench_tables(content):
        console.print(shown)
    for line in bench_lines(content):
        console.print(line, markup=False)
