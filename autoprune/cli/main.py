"""The program's entry: its commands, and what the shell sees when one of them fails."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from autoprune.cli.commands import HELP_NAMES, CommandGroup, add_commands
from autoprune.cli.crash_report import guarding
from autoprune.cli.stopping import was_interrupted, watched
from autoprune.errors import AutopruneError, Interrupted, one_line

__all__ = ["app", "run"]

app = typer.Typer(
    name="autoprune",
    cls=CommandGroup,
    help="Prunes a trained network until it meets a budget, as measured on the device.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings=HELP_NAMES,
)
add_commands(app)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"autoprune {installed('autoprune')}")  # noqa: T201 - this is the answer
        raise typer.Exit


def run(arguments: list[str]) -> int:
    """Run one command.

    Args:
        arguments: The words after `autoprune` on the command line.

    Returns:
        The exit code.
    """
    debug = "--debug" in arguments
    arguments = _with_address_of_ray([argument for argument in arguments if argument != "--debug"])
    with watched(), guarding():
        return _run(lambda: _among_ranks(lambda: _command(arguments)), debug)


def _with_address_of_ray(arguments: list[str]) -> list[str]:
    """The same words, a bare `--ray` with the address that starts a cluster here.

    >>> _with_address_of_ray(["search", "--ray", "--seed", "3"])
    ['search', '--ray', 'local', '--seed', '3']
    """
    following = [*arguments[1:], "--"]
    bare = [word == "--ray" and after.startswith("-") for word, after in zip(arguments, following, strict=True)]
    return [
        each for word, alone in zip(arguments, bare, strict=True) for each in ([word, "local"] if alone else [word])
    ]


def _command(arguments: list[str]) -> Any:
    return typer.main.get_command(app).main(args=arguments, prog_name="autoprune", standalone_mode=False)


def _among_ranks(work: Callable[[], Any]) -> Any:
    """Do the work; of several processes that torchrun started the first does, and the others take part in trainings."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return work()
    from autoprune.pipeline.finish.group import assist, leading

    if os.environ["RANK"] != "0":
        return assist()
    with leading():
        return work()


def _run(work: Callable[[], Any], debug: bool) -> int:
    try:
        outcome = work()
    except typer.Exit as stop:
        return int(stop.exit_code)
    except AutopruneError as error:
        if debug:
            raise
        _complain(str(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted")
        return Interrupted.exit_code
    except BrokenPipeError:  # the reader of our output has left
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # typer's own, about the command line
            return _show(error)
        if was_interrupted():
            _complain("interrupted")
            return Interrupted.exit_code
        if debug:
            raise
        _complain(f"internal error: {one_line(error)}")
        _complain("run the command again with --debug to see where")
        return 1
    if outcome == Interrupted.exit_code:  # newer typer turns Ctrl-C into this answer
        _complain("interrupted")
    return int(outcome) if isinstance(outcome, int) else 0


def _show(problem: Any) -> int:
    """Show typer's own message about the command line, and return its exit code."""
    problem.show()
    return int(problem.exit_code)


def _complain(message: str) -> None:
    typer.echo(f"autoprune: {message}", err=True)
