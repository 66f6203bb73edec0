"""The frame of every job: settings that are refused, the run's folder, the result of a finished run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from autoprune import agents
from autoprune.cost.budget import parsed_budgets
from autoprune.criteria.registry import criterion_of
from autoprune.errors import BudgetError, InputError, Interrupted, RunError
from autoprune.foundations.files import read_json, replacing
from autoprune.hardware import Target
from autoprune.pipeline.device import further_target, target_of
from autoprune.pipeline.finish.deliver import Result
from autoprune.pipeline.jobs.registry import JOBS
from autoprune.pipeline.search.checkpoint import saved_state
from autoprune.pipeline.search.shared.coordinator import refuse_another_run
from autoprune.pipeline.search.together import SIBLINGS
from autoprune.pipeline.task import has_data_of_python
from autoprune.reconstruction.registry import CANDIDATE_WEIGHTS
from autoprune.run.directory import RunDir, read_settings
from autoprune.run.experiment import Experiment
from autoprune.run.flags import Flags
from autoprune.run.recovery import is_run
from autoprune.run.sweep import Part
from autoprune.space import Policy
from autoprune.storage.board import Board
from autoprune.storage.registry import open_store
from autoprune.techniques.homes.cluster import require_ray
from autoprune.techniques.registry import techniques_of
from autoprune.training.optimizers import check_optimizer

__all__ = [
    "Result",
    "check_settings",
    "check_target",
    "check_techniques",
    "finished_result",
    "is_finished",
    "opened_run",
    "require_search",
    "run_of_part",
]


def check_settings(experiment: Experiment) -> None:
    """Refuse, before anything is written, what is wrong in the settings alone.

    Raises:
        InputError: If the agent, criterion, candidates' weights, technique, budget or target cannot be
            what is meant.
        RunError: If the study is another run's.
        StoreError: If the storage of a study cannot be reached.
        TargetError: If the target is not available on this machine.
    """
    agents.get(experiment.agent)
    agents.options_of(experiment.agent, front=experiment.front)
    _check_warm_start(experiment)
    _check_sharing(experiment)
    criterion_of(experiment.criterion)
    CANDIDATE_WEIGHTS.get(experiment.candidate_weights)
    techniques_of(experiment.technique_names)
    check_target(experiment)


def _check_warm_start(experiment: Experiment) -> None:
    if experiment.warm_start is None:
        return
    if not agents.get(experiment.agent).warm_starts:
        raise InputError(f"--warm-start is for agents whose networks learn, such as ddpg; not {experiment.agent}")
    if not is_run(experiment.run_dir):  # a run that goes on has a copy
        saved_state(Path(experiment.warm_start))


def _check_sharing(experiment: Experiment) -> None:
    """A storage that cannot be used, another run's study, and a missing Ray are noticed before anything is trained."""
    if experiment.storage is not None:
        with open_store(experiment.storage, experiment.study_name) as store:
            board = Board(store)
            board.refresh()
        if not is_run(experiment.run_dir):  # a run that goes on may have been moved
            refuse_another_run(experiment, board.contract)
    if experiment.ray is not None:
        require_ray()


def check_target(experiment: Experiment) -> None:
    """The same of a job without an agent.

    Raises:
        InputError: If the budget, the optimiser or the target cannot be what is meant.
        TargetError: If the target is not available on this machine.
    """
    if experiment.optimizer is not None:
        check_optimizer(experiment.optimizer)
    budgets = parsed_budgets(experiment.requested_budgets)
    targets = [target_of(experiment), *(further_target(experiment, each.target) for each in budgets if each.target)]
    for target in targets:
        target.require()
        check_techniques(experiment, target, [each.kind for each in budgets])


def check_techniques(experiment: Experiment, target: Target, budgets: Collection[str]) -> None:
    """Refuse techniques that cannot serve a target, or whose decisions save nothing of any budget.

    Raises:
        InputError: With the reason.
    """
    for technique in techniques_of(experiment.technique_names):
        reason = technique.refusal(target, budgets)
        if reason is not None:
            raise InputError(f"--kinds {technique.name}: {reason}")


@contextmanager
def opened_run(
    experiment: Experiment, *, resume: bool = False, overwrite: bool = False, like: Path | None = None
) -> Iterator[RunDir]:
    """The run's folder, locked; a run that is refused before it has finished anything leaves no folder.

    Args:
        experiment: The settings; they name the folder.
        resume: Go on with a run that exists.
        overwrite: Replace a run that exists.
        like: A run of the same model on the same target, whose dense weights and latency table are taken over.
    """
    device = target_of(experiment).fingerprint()
    run = RunDir(experiment.run_dir, experiment, resume=resume, overwrite=overwrite, device=device)
    try:
        if like is not None:
            _inherit(run, like)
        yield run
    except Interrupted:
        raise
    except Exception as error:
        if isinstance(error, BudgetError) or not run.started:
            run.discard()
        raise
    finally:
        run.close()


@contextmanager
def run_of_part(part: Part, flags: Flags) -> Iterator[RunDir]:
    """One run of a command, opened; it knows of its siblings, which one agent may be trained for."""
    with opened_run(part.experiment, resume=flags.resume, overwrite=flags.overwrite, like=part.like) as run:
        if part.siblings is not None and run.recall(SIBLINGS) is None:
            run.remember(SIBLINGS, {"amounts": part.siblings.amounts, "first": str(part.siblings.first)})
        yield run


def _inherit(run: RunDir, like: Path) -> None:
    """Copy what costs time and does not depend on agent or budget; what the run has already stays."""
    tables = [*sorted(like.glob("checkpoint/profile-*.json")), *sorted(like.glob("steps/*/checkpoint/profile-*.json"))]
    elastic = like / "checkpoint" / "elastic.safetensors"
    for source in (like / "dense.safetensors", elastic, *tables):
        goal = run.file(f"checkpoint/{source.name}" if source.parent.name == "checkpoint" else source.name)
        if source.exists() and not goal.exists():
            with replacing(goal) as temporary:
                temporary.write_bytes(source.read_bytes())


def is_finished(experiment: Experiment, flags: Flags) -> bool:
    """Whether a run is gone on with that is done: nothing of it is tried again."""
    return flags.resume and not flags.overwrite and (experiment.run_dir / "report.json").exists()


def finished_result(run: RunDir, model: nn.Module | None = None) -> Result | None:
    """The result of a run that is done; None if it is not.

    Args:
        run: The run.
        model: The dense network, where the run cannot make it by its name.
    """
    report = run.file("report.json")  # written last
    if not report.exists():
        return None
    from autoprune.pipeline.load import handed_over

    policy, content = Policy.load(run.file("policy.json")), read_json(report, "report")
    return Result(handed_over(run.path, model), policy, content, run.path)


def require_search(path: Path) -> Experiment:
    """The settings of a run that has finished its search.

    Raises:
        RunError: If there is no run or no policy, or its data was handed over in Python.
    """
    name = f"{path.parent}/{path.name}" if path.name else str(path.resolve())
    experiment = read_settings(path)[0].replace(run=name)
    if has_data_of_python(experiment):
        raise RunError(
            f"{path} was made from Python, with data that no command has;"
            " go on with autoprune.compress(..., run=..., resume=True)"
        )
    if experiment.agent in JOBS:  # a job without an agent names itself there
        raise RunError(
            f"{path} is finished by its own command; `autoprune {experiment.agent} --run {name} --resume` goes on"
        )
    if experiment.accuracy_drop is not None and not (path / "report.json").exists():
        raise RunError(
            f"{path} looks for an accuracy, step by step; `autoprune compress --run {name} --resume` goes on with it"
        )
    if not (path / "policy.json").exists():
        raise RunError(f"{path} has no policy.json yet; run `autoprune search --run {name} --resume` first")
    return experiment
