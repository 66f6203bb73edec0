"""A job on what a Python program hands over: a network and loaders, or their names, a loss, a score, settings."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import Any

from torch import nn

from autoprune.cost.budget import Budget
from autoprune.data import DataSet, from_loaders
from autoprune.data import load as load_data
from autoprune.errors import AutopruneError, InputError
from autoprune.evaluation import Evaluate
from autoprune.foundations.threads import use_threads
from autoprune.models.copying import duplicate
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.lifecycle import is_finished, opened_run, run_of_part
from autoprune.pipeline.plan.base import Plan
from autoprune.pipeline.plan.registry import plan_for
from autoprune.pipeline.preflight.checks import preflight
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Loss, OwnFunctions, Task, check_task, judge, load_task, training_device
from autoprune.run.directory import RunDir
from autoprune.run.experiment import BUDGETS, Experiment
from autoprune.run.flags import Flags
from autoprune.run.sweep import Part, parts_of, sub_experiments
from autoprune.training.own_loop import FineTune

__all__ = ["HandedOver", "budget_settings", "check_alternatives", "opened_job", "without_folder"]

_EPOCHS = 10  # of the final fine-tuning on loaders, which have no number of their own


@dataclass(frozen=True)
class HandedOver:
    """What a program gives beside settings; whatever is None is named by the settings instead.

    Attributes:
        model: The trained network, or its name; left as it is.
        train: Batches to fine-tune on.
        search: Batches on which candidates are scored.
        test: Batches that are touched once, at the end.
        example_input: One input, or a tuple or mapping of several; default the first of `train`.
        loss: Own training loss of (output, batch), or its name.
        evaluate: Own score of (model, batches), or its name.
        finetune: Own loop in place of the built-in fine-tuning, or its name.
    """

    model: nn.Module | str | None = None
    train: Iterable[Any] | None = None
    search: Iterable[Any] | None = None
    test: Iterable[Any] | None = None
    example_input: Any = None
    loss: Loss | str | None = None
    evaluate: Evaluate | str | None = None
    finetune: FineTune | str | None = None

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings, with what follows from the objects that were handed over."""
        settings = dict(given)
        if isinstance(self.model, nn.Module):
            settings["model"] = f"{type(self.model).__module__}:{type(self.model).__qualname__}"
            settings["weights"] = None  # it comes with its own
        elif self.model is not None:
            settings["model"] = self.model
        for name, function in (("loss", self.loss), ("evaluate", self.evaluate), ("finetune", self.finetune)):
            if function is not None:
                settings[name] = function if isinstance(function, str) else _name_of(function)
        if callable(self.evaluate):
            settings["score"] = settings.get("score") or "score"  # nothing says that it is an accuracy
        if self._has_loaders():
            settings |= {"data": "loaders", "finetune_epochs": settings.get("finetune_epochs", _EPOCHS)}
        return settings

    def task(self, experiment: Experiment, *, moved: bool) -> Task:
        """The network with its data.

        Args:
            experiment: The settings that `settings` led to.
            moved: Whether the network is to be on the experiment's device; else it stays on its own.

        Raises:
            InputError: If something does not fit, or neither a network nor its name was given.
        """
        if isinstance(self.model, nn.Module):
            task = self._task_of(self.model, self._data(experiment), experiment)
            device = training_device(experiment.device)
            if moved and {p.device for p in self.model.parameters()} != {device}:
                task.model = duplicate(self.model).to(device)
            check_task(task)
            return task
        if self._has_loaders():
            raise InputError("loaders go with a network: hand over the model itself, or name the data")
        task = load_task(experiment, self._own)
        task.remake = lambda: self.task(experiment, moved=False)  # a network that is trained on the way starts afresh
        return task

    def _has_loaders(self) -> bool:
        given = [loader is not None for loader in (self.train, self.search, self.test)]
        if any(given) and not all(given):
            raise InputError("train, search and test go together: give all three, or name the data")
        return all(given)

    def _data(self, experiment: Experiment) -> DataSet:
        if self.train is not None and self.search is not None and self.test is not None:
            return from_loaders(self.train, self.search, self.test, self.example_input, seed=experiment.seed)
        folder = Path(experiment.data_dir) if experiment.data_dir else None
        return load_data(experiment.data, folder, batch_size=experiment.batch_size, seed=experiment.seed)

    def _task_of(self, model: nn.Module, data: DataSet, experiment: Experiment) -> Task:
        batch = experiment.target_batch
        task = Task(experiment.model, model, data, True, weights_origin="the caller's", target_batch=batch)
        judge(task, experiment, self._own)
        return task

    @property
    def _own(self) -> OwnFunctions:
        """The functions themselves; what is a name is in the settings."""
        loss, evaluate, finetune = self.loss, self.evaluate, self.finetune
        return OwnFunctions(
            None if isinstance(loss, str) else loss,
            None if isinstance(evaluate, str) else evaluate,
            None if isinstance(finetune, str) else finetune,
        )


def _name_of(function: Callable[..., Any]) -> str:
    """How the settings call a function that was handed over; a command finds it again if its module has that name."""
    if isinstance(function, FunctionType):
        return f"{function.__module__}:{function.__qualname__}"
    return f"{type(function).__module__}:{type(function).__qualname__}()"  # an object, which no command can make


def budget_settings(text: str | Sequence[str]) -> dict[str, str]:
    """The settings that hold budgets, from how Python programs write them; of several of one kind their amounts.

    >>> budget_settings("latency<=50%,params<=40%"), budget_settings("accuracy_drop<=0.5%")
    ({'latency': '50%', 'params': '40%'}, {'accuracy_drop': '0.5'})
    >>> budget_settings(["latency<=30%", "latency<=50%", "latency@torch<=60%"])
    {'latency': '30%,50%', 'budget': 'latency@torch=60%'}

    Raises:
        InputError: If one of them cannot be read.
    """
    if not isinstance(text, str) and not (isinstance(text, list | tuple) and text):
        raise InputError(f"budget is {text!r}; write its kind and amount as a text, such as 'latency<=50%'")
    amounts: dict[str, list[str]] = {}
    for each in [text] if isinstance(text, str) else text:
        for kind, amount in _budgets_of(each):
            amounts.setdefault(kind, []).append(amount)
    own = {kind: ",".join(each) for kind, each in amounts.items() if kind in BUDGETS}
    further = ",".join(f"{kind}={','.join(each)}" for kind, each in amounts.items() if kind not in BUDGETS)
    return own | ({"budget": further} if further else {})


def check_alternatives(budget: object) -> None:
    """Refuse what cannot be the budgets of a sweep: in a list each is a run of its own, and all are of one kind.

    Raises:
        InputError: If they are of several kinds.
    """
    alternatives = list(budget) if isinstance(budget, list | tuple) else []
    if len(alternatives) > 1 and len({name for each in alternatives for name, _ in _budgets_of(each)}) > 1:
        raise InputError(
            f"budget is {alternatives}; the budgets of a sweep are a run each, of one kind; budgets that every run is"
            " to meet together are one text, such as 'flops<=50%,latency<=50%'"
        )


def _budgets_of(text: object) -> Iterator[tuple[str, str]]:
    """Kind and amount of every budget in one text; all but a drop of the score are tried."""
    if not isinstance(text, str):
        raise InputError(f"budget is {text!r}; write its kind and amount as a text, such as 'latency<=50%'")
    kind = ""
    for part in text.split(","):
        name, sign, amount = part.partition("<=")
        kind, amount = (name.strip(), amount.strip()) if sign else (kind, part.strip())
        if kind == "accuracy_drop":
            yield kind, amount.removesuffix("%")
        else:
            budget = Budget.from_text(f"{kind}<={amount}" if kind else part)
            yield budget.name, budget.requested


@contextmanager
def opened_job(
    handed: HandedOver,
    settings: Mapping[str, Any],
    run: str | Path | None,
    flags: Flags,
    check: Callable[[Experiment], None],
    talk: Reporter,
) -> Iterator[tuple[RunDir, Task]]:
    """The opened run of a job from Python, and its task.

    Args:
        handed: The network and its data.
        settings: All others.
        run: Folder that keeps the run; if not given the settings', else a temporary one.
        flags: How the folder is treated.
        check: Refuses settings before anything is written.
        talk: Shows progress.

    Raises:
        InputError: If something handed over is wrong.
    """
    wanted = handed.settings(settings)
    with ExitStack() as stack:
        if run is not None:
            wanted["run"] = _folder(run)
        elif wanted.get("run") is None:
            wanted["run"] = str(stack.enter_context(_temporary_run()))
        experiment = Experiment.build(wanted)
        if len(sub_experiments(experiment)) > 1:
            raise InputError("several agents or budgets are several runs: call autoprune.sweep(..., run=...)")
        check(experiment)
        stack.enter_context(use_threads(experiment.train_threads))
        whole = handed.task(experiment, moved="device" in settings)
        if not is_finished(experiment, flags):
            preflight(whole, experiment, talk)
        opened = stack.enter_context(opened_run(experiment, resume=flags.resume, overwrite=flags.overwrite))

        yield opened, whole


def planned_job(
    handed: HandedOver,
    settings: Mapping[str, Any],
    run: str | Path | None,
    job_of: Callable[[Experiment], Job],
    talk: Reporter,
) -> Plan:
    """What a job from Python would do, its preflight passed; nothing is written. Arguments are as of `opened_job`."""
    wanted = handed.settings(settings)
    if run is not None:
        wanted["run"] = _folder(run)
    experiment = Experiment.build(wanted)
    job = job_of(experiment)
    job.check(experiment)
    return _planned(handed, experiment, talk, job, moved="device" in settings)


def planned_part(handed: HandedOver, part: Part, job: Job, talk: Reporter, *, moved: bool) -> Plan:
    """What one run of a sweep would do; see `HandedOver.task` for `moved`."""
    return _planned(handed, part.experiment, talk, job, moved=moved)


def _planned(handed: HandedOver, experiment: Experiment, talk: Reporter, job: Job, *, moved: bool) -> Plan:
    with use_threads(experiment.train_threads):
        whole = handed.task(experiment, moved=moved)
        preflight(whole, experiment, talk)
        return plan_for(job, whole, experiment, talk)


@contextmanager
def opened_sweep(
    handed: HandedOver,
    settings: Mapping[str, Any],
    run: str | Path,
    flags: Flags,
    check: Callable[[Experiment], None],
) -> Iterator[list[Part]]:
    """The runs of a sweep from Python, all of them checked.

    Args:
        handed: The network and its data.
        settings: All others, of several agents or budgets.
        run: Folder that holds the runs.
        flags: How their folders are treated.
        check: Refuses settings of one run before anything is written.
    """
    experiment = Experiment.build({**handed.settings(settings), "run": _folder(run)})
    with parts_of(experiment, flags, check) as parts:
        yield parts


@contextmanager
def opened_part(
    handed: HandedOver, part: Part, flags: Flags, talk: Reporter, *, moved: bool
) -> Iterator[tuple[RunDir, Task]]:
    """One run of a sweep, opened, and a task of its own; see `HandedOver.task` for `moved`."""
    experiment = part.experiment
    with use_threads(experiment.train_threads):
        task = handed.task(experiment, moved=moved)
        if not is_finished(experiment, flags):
            preflight(task, experiment, talk)
        with run_of_part(part, flags) as opened:
            yield opened, task


@contextmanager
def _temporary_run() -> Iterator[Path]:
    """A run's folder for as long as the call takes; where that ends badly, or early, it is kept and named."""
    folder = Path(tempfile.mkdtemp(prefix="autoprune-"))
    try:
        yield folder / "run"
    except BaseException as error:
        if (folder / "run").exists():  # a run that was refused before it had finished anything leaves none
            _name_kept(error, folder / "run")
            raise
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not _was_stopped(folder / "run"):
        shutil.rmtree(folder, ignore_errors=True)


def _was_stopped(run: Path) -> bool:
    """Whether a job ended early, by its time limit or a callback: the best so far is there, and no report."""
    return (run / "policy.json").exists() and not (run / "report.json").exists()


def _name_kept(error: BaseException, run: Path) -> None:
    kept = f"what is finished is in {run}; the same call with run={str(run)!r}, resume=True goes on"
    if isinstance(error, AutopruneError) and error.args:
        error.args = (f"{error.args[0]}\n{kept}", *error.args[1:])
    else:
        error.add_note(kept)


def _folder(run: str | Path) -> str:
    """The run's folder as a path, never a name under runs/."""
    text = str(run)
    return text if "/" in text or not text.strip() else f"./{text}"


def without_folder(result: Result) -> Result:
    """What a job in a temporary folder gives back: that folder is gone, unless the job ended early and can go on."""
    return replace(result, run=None) if result.finished else result
