"""Command-line options read off `Experiment`, so that a setting is declared in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from autoprune.run.experiment import Experiment, option_group
from autoprune.run.flags import Flags
from autoprune.run.folder import SETTINGS
from autoprune.run.sweep import SWEEP_FILE

__all__ = ["experiment_command", "resolve"]

_PROGRESSIVE = tuple(name for name in Experiment.model_fields if option_group(name) == "Progressive")


def experiment_command(
    call: Callable[[Experiment, Flags], None],
    *,
    onnx: bool = False,
    without: Collection[str] = _PROGRESSIVE,
    fixed: Mapping[str, Any] | None = None,
) -> Callable[..., None]:
    """A typer command whose options are the experiment's settings.

    Args:
        call: Receives the validated experiment and the flags.
        onnx: Whether the command offers `--onnx`.
        without: Settings that mean nothing to the command.
        fixed: Settings that the command itself decides, whatever a file says.
    """

    def command(**given: Any) -> None:
        path: Path | None = given.pop("experiment_file")
        flags = Flags(given.pop("resume"), given.pop("overwrite"), given.pop("onnx", False))
        settings = {name: value for name, value in given.items() if value is not None and value != []}
        settings |= fixed or {}
        call(resolve(path, settings, resume=flags.resume), flags)

    settings = (name for name in Experiment.model_fields if name not in without)
    parameters = [_file_argument(), *(_option(name) for name in settings), *_flags(onnx)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = call.__doc__
    return command


def resolve(path: Path | None, settings: dict[str, Any], *, resume: bool) -> Experiment:
    """The experiment of a command: file, then options; a resumed run's own settings where nothing else is said."""
    experiment = Experiment.build(settings) if path is None else Experiment.read(path, settings)
    if not resume:
        return experiment
    for name in (SETTINGS, SWEEP_FILE):
        stored = experiment.run_dir / name
        if stored.is_file():
            given = {name: getattr(experiment, name) for name in experiment.model_fields_set}
            return Experiment.read(stored, {**given, "run": experiment.run})
    return experiment


def _file_argument() -> inspect.Parameter:
    kind = Annotated[
        Path | None, typer.Argument(metavar="[EXPERIMENT.yaml]", help="settings in YAML; options override it")
    ]
    return _parameter("experiment_file", kind, None)


def _option(name: str) -> inspect.Parameter:
    field = Experiment.model_fields[name]
    default = field.default
    shown = "" if default in (None, ()) else f" [default: {default}]"
    kind = _option_type(field.annotation)
    plain = _plain(field.annotation)
    metavar = "|".join(get_args(plain)) if _is_literal(plain) else None
    option = typer.Option(
        "--" + name.replace("_", "-"),
        help=f"{field.description}{shown}".replace("[", r"\["),
        show_default=False,
        rich_help_panel=option_group(name),
        metavar=metavar,
    )
    return _parameter(name, Annotated[kind, option], None)


def _option_type(annotation: Any) -> Any:
    if get_origin(annotation) is tuple:
        return list[str] | None
    plain = _plain(annotation)
    return (plain if plain in (int, float) else str) | None


def _plain(annotation: Any) -> Any:
    """The annotation without `None`."""
    options = [a for a in get_args(annotation) if a is not type(None)]
    return options[0] if options and not _is_literal(annotation) else annotation


def _is_literal(annotation: Any) -> bool:
    return str(annotation).startswith("typing.Literal")


def _flags(onnx: bool) -> list[inspect.Parameter]:
    resume = typer.Option("--resume", help="go on with this run where it stopped, or start it", rich_help_panel="Run")
    overwrite = typer.Option("--overwrite", help="replace a run that exists", rich_help_panel="Run")
    flags = [
        _parameter("resume", Annotated[bool, resume], False),
        _parameter("overwrite", Annotated[bool, overwrite], False),
    ]
    if onnx:
        extra = typer.Option("--onnx", help="also write model.onnx into the run", rich_help_panel="Run")
        flags.append(_parameter("onnx", Annotated[bool, extra], False))
    return flags


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
