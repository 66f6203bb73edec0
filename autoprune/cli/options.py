"""Command-line options read off `Experiment`, so that a setting is declared in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from autoprune.criteria.registry import CRITERIA
from autoprune.pipeline.jobs.settings import OF_ONE_JOB
from autoprune.reconstruction.registry import CANDIDATE_WEIGHTS
from autoprune.run.experiment import Experiment, option_group
from autoprune.run.flags import Flags
from autoprune.run.recovery import SETTINGS
from autoprune.run.settings.stored import StoredSettings
from autoprune.run.sweep import SWEEP_FILE
from autoprune.techniques.registry import TECHNIQUES

__all__ = [
    "DryRun",
    "ExperimentFile",
    "Onnx",
    "Overwrite",
    "Resume",
    "experiment_command",
    "resolve",
    "settings_command",
]

_NAMED: Mapping[str, Iterable[str]] = {
    "candidate_weights": CANDIDATE_WEIGHTS,
    "criterion": CRITERIA,
    "techniques": TECHNIQUES,
}
"""Settings whose values are names that packages add to; the help lists those that are installed."""

_ALSO: Mapping[str, tuple[str, ...]] = {"forms": ("--as",)}
"""Other names of options; from Python and in files a setting has its own name alone."""

_SHORT = 4  # names that fit a metavar

ExperimentFile = Annotated[
    Path | None, typer.Argument(metavar="[EXPERIMENT.yaml]", help="settings in YAML; options override it")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="go on with this run where it stopped, or start it", rich_help_panel="Run")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace a run that exists", rich_help_panel="Run")]
Onnx = Annotated[bool, typer.Option("--onnx", help="also write model.onnx into the run", rich_help_panel="Run")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="try everything once, print the plan with its time, and stop", rich_help_panel="Run"
    ),
]

Worker = Annotated[
    bool,
    typer.Option(
        "--worker",
        help="join the study in --storage: score its candidates until the search is over, then leave",
        rich_help_panel=option_group("storage"),
    ),
]


def experiment_command(
    call: Callable[[Experiment, Flags], None],
    *,
    onnx: bool = False,
    worker: bool = False,
    without: Collection[str] = OF_ONE_JOB,
    fixed: Mapping[str, Any] | None = None,
) -> Callable[..., None]:
    """A typer command whose options are the experiment's settings, each block under a heading of its own.

    Args:
        call: Receives the validated experiment and the flags.
        onnx: Whether the command offers `--onnx`.
        worker: Whether it offers `--worker`.
        without: Settings that mean nothing to the command.
        fixed: Settings that the command itself decides, whatever a file says.
    """
    names = [name for name in Experiment.model_fields if name not in without]

    def command(**given: Any) -> None:
        path: Path | None = given.pop("experiment_file")
        settings = _taken(names, given) | dict(fixed or {})
        flags = Flags(**given)
        call(resolve(path, settings, resume=flags.resume), flags)

    options = [_option(name, option_group(name)) for name in names]
    parameters = [_parameter("experiment_file", ExperimentFile, None), *options, *_flags(onnx, worker)]
    return _declared(command, parameters, call.__doc__)


def settings_command(
    call: Callable[..., None],
    names: Sequence[str],
    *,
    required: Collection[str] = (),
    silent: Collection[str] = (),
    panels: Mapping[str, str] | None = None,
    of: type[StoredSettings] = Experiment,
) -> Callable[..., None]:
    """A typer command whose options are a function's own parameters and some of the experiment's settings.

    Args:
        call: Takes `settings`, in whose place the options stand: those that were given, by name.
        names: Which settings.
        required: Those without which the command is an error.
        silent: Those whose default in an experiment is not the command's.
        panels: The heading of those that are not listed with the command's own options.
        of: Whose settings they are.
    """
    parameters: list[inspect.Parameter] = []
    for own in inspect.signature(call, eval_str=True).parameters.values():
        if own.name == "settings":
            parameters += [
                _option(name, (panels or {}).get(name), required=name in required, silent=name in silent, of=of)
                for name in names
            ]
        else:
            parameters.append(own.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    def command(**given: Any) -> None:
        call(settings=_taken(names, given), **given)

    return _declared(command, parameters, call.__doc__)


def _taken(names: Iterable[str], given: dict[str, Any]) -> dict[str, Any]:
    """Takes the settings out of what typer parsed; those that were given."""
    values = {name: given.pop(name) for name in names}
    return {name: value for name, value in values.items() if value is not None and value != []}


def _declared(
    command: Callable[..., None], parameters: Sequence[inspect.Parameter], doc: str | None
) -> Callable[..., None]:
    """The command with the signature that typer reads."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = doc
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


def _option(
    name: str, panel: str | None, *, required: bool = False, silent: bool = False, of: type[StoredSettings] = Experiment
) -> inspect.Parameter:
    """A setting's option.

    Args:
        name: The setting.
        panel: The heading that it is listed under; None for the command's own options.
        required: Whether it must be given.
        silent: Whether its default is not shown.
        of: Whose setting it is.
    """
    field = of.model_fields[name]
    default = field.default
    shown = "" if required or silent or default in (None, (), False, "") else f" [default: {default}]"
    plain = _plain(field.annotation)
    names = list(get_args(plain) if _is_literal(plain) else _NAMED.get(name, ()))
    metavar, listed = "|".join(names) or None, ""
    if len(names) > _SHORT:  # a long metavar leaves no room for the help beside it
        metavar, listed = "NAME", f": {', '.join(names)}"
    option = typer.Option(
        "--" + name.replace("_", "-"),
        *_ALSO.get(name, ()),
        help=f"{field.description}{listed}{shown}".replace("[", r"\["),
        show_default=False,
        rich_help_panel=panel,
        metavar=metavar,
    )
    kind = _option_type(field.annotation)
    return _parameter(name, Annotated[kind, option], inspect.Parameter.empty if required else None)


def _option_type(annotation: Any) -> Any:
    if get_origin(annotation) is tuple:
        return list[str] | None
    plain = _plain(annotation)
    return (plain if plain in (int, float, bool) else str) | None


def _plain(annotation: Any) -> Any:
    """The annotation without `None`."""
    options = [a for a in get_args(annotation) if a is not type(None)]
    return options[0] if options and not _is_literal(annotation) else annotation


def _is_literal(annotation: Any) -> bool:
    return str(annotation).startswith("typing.Literal")


def _flags(onnx: bool, worker: bool) -> list[inspect.Parameter]:
    offered: dict[str, Any] = {"resume": Resume, "overwrite": Overwrite, "dry_run": DryRun}
    if onnx:
        offered["onnx"] = Onnx
    if worker:
        offered["worker"] = Worker
    return [_parameter(name, annotation, False) for name, annotation in offered.items()]


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
