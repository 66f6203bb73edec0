"""Several agents or budgets in one command: sub-runs, each a run of its own, that share what costs time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import RunError
from autoprune.run.experiment import Experiment

if TYPE_CHECKING:
    from autoprune.run.flags import Flags

__all__ = ["SWEEP_FILE", "Part", "Siblings", "parts_of", "sub_experiments"]

SWEEP_FILE = "sweep.yaml"
"""Settings of all sub-runs, in the folder that holds them: what is left out on `--resume` comes from here."""


@dataclass(frozen=True)
class Siblings:
    """Runs that differ in nothing but the amount of their one budget.

    Attributes:
        amounts: Of all of them, as the user wrote them: `30%`.
        first: The folder of the one that comes first.
    """

    amounts: tuple[str, ...]
    first: Path


@dataclass(frozen=True)
class Part:
    """One run of a command.

    Attributes:
        experiment: Its settings.
        like: The sub-run whose dense weights and latency table it takes over; None if it is the first, or alone.
        siblings: The runs of the same agent under the other amounts of the one budget.
    """

    experiment: Experiment
    like: Path | None
    siblings: Siblings | None = None


@contextmanager
def parts_of(experiment: Experiment, flags: Flags, check: Callable[[Experiment], None]) -> Iterator[list[Part]]:
    """The runs of a command, all of which may be started; a sweep that is refused at the start leaves no folder.

    Args:
        experiment: The settings, of several agents or budgets perhaps.
        flags: How the runs' folders are treated.
        check: Refuses, before anything is written, what is wrong in the settings of one run alone.

    Raises:
        RunError: If one of them exists and is neither resumed nor replaced, or is resumed under other settings, or the
            folder has runs of another sweep.
    """
    from autoprune.run.directory import is_run, read_settings, refuse_existing, refuse_other_settings

    experiments = sub_experiments(experiment)
    folder = experiment.run_dir
    alone = len(experiments) == 1
    if not alone:
        _refuse_folder(folder)
    for each in experiments:
        refuse_existing(each.run_dir, resume=flags.resume, overwrite=flags.overwrite)
        check(each)
        if flags.resume and is_run(each.run_dir):
            refuse_other_settings(each.run_dir, read_settings(each.run_dir)[0], each)
    if alone:
        yield [Part(experiment, None)]
        return
    if not flags.overwrite:
        _refuse_another_sweep(folder, experiment, further=flags.resume)
    _write(folder, experiment)
    try:
        yield [
            Part(each, experiments[0].run_dir if number else None, _siblings(each, experiments))
            for number, each in enumerate(experiments)
        ]
    finally:
        _remove_if_empty(folder)


def sub_experiments(experiment: Experiment) -> list[Experiment]:
    """One experiment for each agent and each amount of the budget; sub-runs of the run if there are several.

    >>> [str(e.run_dir) for e in sub_experiments(Experiment(agent="ddpg,optuna", run="a"))]
    ['runs/a/ddpg', 'runs/a/optuna']
    """
    amounts = [_split(amount) for _, amount in experiment.requested_budgets]
    agents, limits = _split(experiment.agent), list(itertools.product(*amounts))
    if len(agents) == len(limits) == 1:
        return [experiment]
    parts = []
    for agent, chosen in itertools.product(agents, limits):
        varied = [amount for amount, choice in zip(chosen, amounts, strict=True) if len(choice) > 1]
        name = "-".join([agent.replace("@", "-").replace("=", "-"), *(amount.replace("%", "") for amount in varied)])
        budget = experiment.with_amounts(chosen) if experiment.accuracy_drop is None else {}
        study = {} if experiment.study is None else {"study": f"{experiment.study}/{name}"}
        parts.append(experiment.replace(agent=agent, run=str(experiment.run_dir / name), **budget, **study))
    return parts


def _siblings(experiment: Experiment, experiments: list[Experiment]) -> Siblings | None:
    """The runs of a sweep that differ from one in the amount of their only budget; None if there are no others."""
    alike = [each for each in experiments if each.agent == experiment.agent and len(each.requested_budgets) == 1]
    if len(alike) < 2 or experiment not in alike:
        return None
    return Siblings(tuple(amount for each in alike for _, amount in each.requested_budgets), alike[0].run_dir)


def _split(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip())) or [text]


def _refuse_folder(folder: Path) -> None:
    from autoprune.run.directory import is_run

    if is_run(folder):
        raise RunError(f"{folder} is a run itself and cannot hold several; choose another --run")
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; choose another --run")
    known = (folder / SWEEP_FILE).exists() or not folder.exists()
    if not known and any(not (e.is_dir() and is_run(e)) for e in folder.iterdir()):
        raise RunError(f"{folder} exists and holds something else than runs; choose another --run")


def _refuse_another_sweep(folder: Path, experiment: Experiment, *, further: bool) -> None:
    """A folder says with which settings its runs go on; those of other runs would be forgotten.

    Args:
        folder: The sweep's.
        experiment: The settings.
        further: Whether there may be further agents and amounts, beside all that the folder has.
    """
    path = folder / SWEEP_FILE
    if not path.exists():
        return
    before = Experiment.read(path, {"run": experiment.run})
    if not further:
        if _settings(before) != _settings(experiment):
            raise RunError(
                f"{folder} holds runs of other settings; --resume goes on with these, or choose another --run"
            )
        return
    left_out = {each.run_dir.name for each in sub_experiments(before)}
    left_out -= {each.run_dir.name for each in sub_experiments(experiment)}
    kinds = [[kind for kind, _ in each.requested_budgets] for each in (before, experiment)]
    if left_out or kinds[0] != kinds[1]:
        raise RunError(
            f"{folder} holds {', '.join(sorted(left_out)) or 'runs of another budget'}, too; a sweep that goes on may"
            " get further agents and amounts, and lose none"
        )


def _settings(experiment: Experiment) -> dict[str, Any]:
    return experiment.model_dump(mode="json", exclude={"run"})


def _write(folder: Path, experiment: Experiment) -> None:
    import yaml

    from autoprune.foundations.files import write_text

    write_text(folder / SWEEP_FILE, yaml.safe_dump({"settings": _settings(experiment)}, sort_keys=False))


def _remove_if_empty(folder: Path) -> None:
    if not any(entry.name != SWEEP_FILE for entry in folder.iterdir()):
        (folder / SWEEP_FILE).unlink(missing_ok=True)
        folder.rmdir()
        if folder.parent.name == "runs" and not any(folder.parent.iterdir()):
            folder.parent.rmdir()
