"""The commands by name: where each lies, and the line that `autoprune --help` shows. No command is imported here."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

__all__ = ["COMMANDS", "CommandGroup", "Entry", "add_commands"]


class Entry(NamedTuple):
    """A command.

    Attributes:
        module: Has a `register(app)` that adds the command.
        summary: The first paragraph of the command's help, which is the docstring of its function.
    """

    module: str
    summary: str


_JOB, _TOOL = "autoprune.cli.main_job.", "autoprune.cli.tools."

COMMANDS = {
    "compress": Entry(
        _JOB + "compress", "Train or load, profile, search, fine-tune, verify on the target, report: the main job."
    ),
    "search": Entry(
        _JOB + "search",
        "Search only (training the dense network first when no weights are given); leaves policy.json.",
    ),
    "progressive": Entry(
        _JOB + "progressive",
        "Prune a little, build, measure on the target, adjust, fine-tune; again and again until the budget is met.",
    ),
    "sparsify": Entry(
        _JOB + "sparsify",
        "Set weights to zero by a pattern (N:M, blocks, single ones), train with the mask, and say what it brings.",
    ),
    "llm": Entry(
        "autoprune.cli.language.group",
        "Language models: prune them or compress them to a budget, and judge them by their perplexity.",
    ),
    "lottery": Entry(
        _JOB + "lottery",
        "Look for lottery tickets: prune, rewind, train again, round by round, beside controls and over seeds.",
    ),
    "dynamic": Entry(
        _JOB + "dynamic",
        "Give a trained network early exits that easy inputs leave through, with a bounded loss, timed on the target.",
    ),
    "codesign": Entry(
        _JOB + "codesign",
        "Search the pattern and the ratios of a pruned network together with the accelerator that runs it, as"
        " simulated.",
    ),
    "quantize": Entry(
        _JOB + "quantize",
        "Bring a trained network or a run's to eight bits: types, ranges and layers by what the target measures.",
    ),
    "sensitivity": Entry(
        _TOOL + "sensitivity",
        "Cut each decision alone: what the score loses, and what the device saves; a table and a picture.",
    ),
    "profile": Entry(
        _TOOL + "profile",
        "Build a latency table for a model on a target, and say how far its predictions are from measurements.",
    ),
    "finetune": Entry(
        _JOB + "finetune", "Fine-tune the run's best policies, choose one, verify it on the target, report."
    ),
    "export": Entry(
        _JOB + "export",
        "Write the small network of a run; ONNX, pt2 and pretrained are checked against its outputs first.",
    ),
    "apply": Entry(_JOB + "apply", "Rebuild a pruned network from dense weights and a policy."),
    "inspect": Entry(
        _TOOL + "inspect",
        "Show the coupled groups of a model: members, widths, what is frozen and why, and what can be dropped whole.",
    ),
    "targets": Entry(
        _TOOL + "targets",
        "Say which targets work on this machine, and why the others do not; how repeatable timing is here now.",
    ),
    "report": Entry(_TOOL + "report", "Write report.html, one self-contained page, and print the table."),
    "dashboard": Entry(
        _TOOL + "dashboard",
        "Show a run in the browser, by TensorBoard and optuna-dashboard, on this machine's loopback address alone.",
    ),
    "compare": Entry(
        _TOOL + "compare",
        "Show several runs side by side: a table, means and paired differences over seeds, pictures on request.",
    ),
    "bench": Entry(
        _TOOL + "bench",
        "Time dense and pruned network side by side on several targets: latency ratio with its spread, accuracy,"
        " sizes.",
    ),
}


class CommandGroup(TyperGroup):
    """The program, which imports the one command that is run; help about all of them is made of their summaries."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the arguments name, with its options."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load_command(name), rest


def add_commands(app: typer.Typer) -> None:
    """Add every command's name and summary to the program, which must be a `CommandGroup`."""
    for name, entry in COMMANDS.items():
        app.command(name, help=entry.summary)(_named_only)


def load_command(name: str) -> Any:
    """Import a command: typer's object with all its options."""
    app = typer.Typer(rich_markup_mode="rich", add_completion=False, context_settings=HELP_NAMES)
    importlib.import_module(COMMANDS[name].module).register(app)
    return typer.main.get_command(app)


HELP_NAMES = {"help_option_names": ["-h", "--help"]}


def _named_only() -> None:
    """Placeholder of a command until it is imported."""
