"""`autoprune llm eval`: the perplexity of a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune llm eval runs/sparse --text speeches.txt --text manual.txt --context 512"
    app.command("eval", epilog=example)(evaluate)


def evaluate(
    model: Annotated[str, typer.Argument(help="a run, a folder, FILE.gguf, smollm2, or package.module:factory")],
    text: Annotated[list[str] | None, typer.Option(help="file or folder of text; give several")] = None,
    tasks: Annotated[str | None, typer.Option(help="tasks of the lm-eval harness, with commas")] = None,
    tasks_folder: Annotated[Path | None, typer.Option(help="folder with YAML files of your own tasks")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="examples of each task \\[default: all]")] = None,
    context: Annotated[int, typer.Option(help="tokens that the model sees at once")] = 512,
    stride: Annotated[
        int | None, typer.Option(help="tokens from one window to the next \\[default: the context]")
    ] = None,
    tokens: Annotated[int | None, typer.Option(help="tokens of each text that are read \\[default: all]")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="file that the figures are written to")] = None,
) -> None:
    """Print a language model's perplexity on texts; with one text, on English reference prose, too."""
    from dataclasses import asdict

    from autoprune.cli.screen import Screen
    from autoprune.errors import InputError
    from autoprune.foundations.files import write_json
    from autoprune.llm.evaluation.perplexity import Reading
    from autoprune.llm.evaluation.tasks import require_harness, task_scores
    from autoprune.llm.jobs.judging import judged, model_to_judge, texts_to_judge

    if not text and tasks is None:
        raise InputError("there is nothing to judge by; give --text FILE, or --tasks of the lm-eval harness")
    if tasks is not None:
        require_harness()
    reading = Reading(context, stride, tokens)
    texts, screen = texts_to_judge(text) if text else [], Screen()
    with screen.stage("load", f"loading {model}"):
        loaded = model_to_judge(model)
    rows = judged(loaded, texts, reading, screen, "the model")
    for row in rows:
        typer.echo(
            f"{row['name']}: perplexity {row['perplexity']:.2f} ({row['tokens']} tokens predicted, context"
            f" {row['context']}, stride {row['stride']})"
        )
    scores = task_scores(loaded, tasks.split(","), tasks_folder, limit) if tasks is not None else []
    for score in scores:
        error = "" if score.error is None else f" +- {score.error:.4f}"
        typer.echo(f"{score.task}: {score.metric} {score.value:.4f}{error} ({score.examples} examples)")
    if out is not None:
        figures = {"texts": rows, "tasks": [asdict(score) for score in scores]}
        write_json(out, {"model": model, **figures, "reading": asdict(reading)})
