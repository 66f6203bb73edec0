"""`autoprune llm export`: the model of a run as the files that others load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from autoprune.llm.models.base import LanguageModel

__all__ = ["register"]

_RUNTIMES = {"gguf": "llama.cpp", "openvino": "OpenVINO"}


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune llm export runs/sparse --format gguf --type q8_0 --out sparse.gguf"
    app.command("export", epilog=example)(export)


def export(
    model: Annotated[str, typer.Argument(help="a run, a folder, FILE.gguf, smollm2, or package.module:factory")],
    out: Annotated[Path, typer.Option(help="file, or for hf a folder, that is written")],
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            help="hf (for from_pretrained), gguf (for llama.cpp), openvino (a folder) or safetensors (weights alone)",
        ),
    ] = "hf",
    number_format: Annotated[
        str, typer.Option("--type", help="of matrices for gguf and openvino: f32, f16, q8_0, q4_0; gguf alone: q4_1")
    ] = "f16",
    check: Annotated[
        bool, typer.Option(help="load what is written in llama.cpp or openvino, and compare it with PyTorch")
    ] = True,
    timed: Annotated[
        int | None, typer.Option("--time", help="time it in llama.cpp or openvino, behind a prompt of so many tokens")
    ] = None,
) -> None:
    """Write a language model as the files that others load; those of llama.cpp and OpenVINO are compared there."""
    from autoprune.cli.screen import Screen
    from autoprune.errors import InputError
    from autoprune.llm.jobs.export import export_model
    from autoprune.llm.models.load import load_language_model

    if timed is not None and (kind not in _RUNTIMES or timed < 1):
        raise InputError("--time is for --format gguf or openvino, and needs a prompt of 1 token and more")
    screen = Screen()
    with screen.stage("load", f"loading {model}"):
        loaded = load_language_model(model)
    with screen.stage("write", f"writing {out}"):
        written = export_model(loaded, kind, out, number_format)
    typer.echo(f"{written.path}: {written.bytes / 2**20:.1f} MiB")
    for note in written.notes:
        typer.echo(note)
    if kind in _RUNTIMES and check:
        _compare(loaded, out, number_format, _RUNTIMES[kind])
    if timed is not None:
        _time(out, timed, kind)


def _compare(loaded: LanguageModel, out: Path, number_format: str, runtime: str) -> None:
    from autoprune.llm.jobs.export import compared

    found = compared(loaded, out, number_format)
    if found is None:
        typer.echo("not compared in llama.cpp: install it with pip install 'autoprune[llm]'")
        return
    verdict = "" if found.holds else f"; that is more than rounding ({found.tolerance:.3f} nats)"
    typer.echo(
        f"{runtime} beside PyTorch: log-probabilities of the likeliest tokens within {found.largest:.4f} nats"
        f" (mean {found.mean:.4f}), greedy continuation {found.common} of {found.continued} tokens,"
        f" {found.tokens[0]} of {found.tokens[1]} texts cut alike{verdict}"
    )


def _time(out: Path, context: int, kind: str) -> None:
    from autoprune.llm.llamacpp.timing import time_files
    from autoprune.llm.openvino.timing import time_folders

    speed = (time_files if kind == "gguf" else time_folders)([out], context=context)[0]
    typer.echo(
        f"{_RUNTIMES[kind]}, 1 thread, behind {context} tokens: prefill {speed.prefill_tokens_per_second:.0f} tokens/s,"
        f" decode {speed.decode_tokens_per_second:.1f} tokens/s ({speed.decode_ms:.2f} ms a token)"
    )
