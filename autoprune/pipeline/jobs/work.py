"""A worker: it joins a study, scores candidates until the search is over, and leaves nothing behind."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoprune.errors import InputError, RunError, StoreError, first_line
from autoprune.foundations.threads import use_threads
from autoprune.hardware.grid.widths import Grid
from autoprune.pipeline.building import unpriced_problem
from autoprune.pipeline.jobs.search import fitted
from autoprune.pipeline.problem import CAME_TRAINED
from autoprune.pipeline.reporter import Bar, Reporter
from autoprune.pipeline.search.candidates import candidate_score, local_home, scorer_of
from autoprune.pipeline.search.shared.contract import Scoring, fingerprints, joined_settings, refuse_other
from autoprune.pipeline.search.shared.coordinator import worker_name
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.run.sweep import sub_experiments
from autoprune.storage.board import Board
from autoprune.storage.registry import open_store
from autoprune.techniques.homes.leasing import Leasing
from autoprune.techniques.homes.shared import pauses

__all__ = ["studies_of", "work"]

_LONGEST = 2.0  # seconds between two looks at a store that has nothing to do


def studies_of(given: Experiment) -> list[Experiment]:
    """A worker's settings for each study of a sweep, in which only what was given counts as given."""
    parts = sub_experiments(given)
    if len(parts) == 1:
        return parts
    names = given.model_fields_set | {"run"}
    return [Experiment.build({name: getattr(each, name) for name in names}) for each in parts]


def work(given: Experiment, task_of: Callable[[Experiment], Task], reporter: Reporter) -> int:
    """Score candidates of a study until its search is over.

    A study that does not exist yet is waited for. What was not given comes from the study. Nothing is timed here, and
    nothing is kept but what goes into the storage.

    Args:
        given: The settings: the storage, the study or its run, and whatever a worker has of its own.
        task_of: Makes the task of the study's settings.
        reporter: Shows progress; its time limit is asked for after every candidate.

    Returns:
        How many candidates were scored.

    Raises:
        StoreError: If the storage cannot be reached at the start.
        RunError: If the worker's settings, data or network are not the study's.
    """
    if given.storage is None:
        raise InputError("a worker joins a study in a storage: give storage (--storage)")
    study = given.study_name
    with open_store(given.storage, study) as store:
        board = Board(store)
        with reporter.stage("work", f"waiting for the study {study}") as bar:
            _wait(board, study, reporter, bar)
        refuse_other(study, board.contract["fingerprints"], fingerprints())
        experiment = joined_settings(given, board.contract)
        if board.ended:
            reporter.say(f"the search of {study} is over; there is nothing to do")
            return 0
        if not store.for_many:
            reporter.say(
                "SQLite is made for few processes of one machine: journal:FILE takes more of them, and"
                " postgresql+psycopg2://... those of several machines"
            )
        if board.contract["batch"] == 1:
            raise RunError(f"the study {study} plays one episode at a time (batch 1): there is nothing to share out")
        with _own_folder(experiment) as settings:
            return _serve(board, study, settings, task_of, reporter)


def _wait(board: Board, study: str, reporter: Reporter, bar: Bar) -> None:
    """Until there is the study."""
    waits, said = pauses(_LONGEST), False
    board.refresh()
    while not board.contract:
        if not said:
            reporter.say(f"there is no study {study} yet; waiting for it")
        said = True
        bar.update(0)
        time.sleep(next(waits))
        board.refresh()


@contextmanager
def _own_folder(experiment: Experiment) -> Iterator[Experiment]:
    with tempfile.TemporaryDirectory(prefix="autoprune-worker-") as folder:
        yield experiment.replace(run=f"{folder}/run")


def _serve(
    board: Board, study: str, experiment: Experiment, task_of: Callable[[Experiment], Task], reporter: Reporter
) -> int:
    contract = board.contract
    with use_threads(experiment.train_threads), RunDir(experiment.run_dir, experiment) as run:
        for name, value in contract["decided"].items():
            run.remember(name, value)
        task = task_of(_with_weights(experiment, contract, run))
        problem = fitted(
            unpriced_problem(task, run, Grid.from_json(contract["decided"]["granularity"]), reporter), reporter
        )
        score = candidate_score(problem, scorer_of(problem), several=contract["several"])
        refuse_other(study, contract["fingerprints"], fingerprints(Scoring(problem, score)))
        name = worker_name()
        with local_home(experiment, score, run.path, task.name, contract["batch"]) as home:
            leasing = Leasing(board, home, name, experiment.lease)
            with reporter.stage("work", f"scoring candidates of {study} as {name}") as bar:
                _until_the_end(leasing, reporter, bar)
    reporter.say(f"{leasing.scored} candidates scored for {study}; its search is over")
    return leasing.scored


def _until_the_end(leasing: Leasing, reporter: Reporter, bar: Bar) -> None:
    """Score whatever is free; a storage that cannot be reached is tried again and again."""
    board, waits, lost = leasing.board, pauses(_LONGEST), False
    while not board.ended or leasing.undelivered:
        try:
            worked = leasing.turn()
            if lost:
                reporter.say("the storage can be used again")
            lost = False
        except StoreError as error:
            if not lost:
                reporter.say(f"{first_line(error)}; what is scored is kept here, and the storage tried again")
            worked, lost = 0, True
        waits = pauses(_LONGEST) if worked else waits
        bar.update(leasing.scored)
        if not worked and not board.ended:
            time.sleep(next(waits))


def _with_weights(experiment: Experiment, contract: Mapping[str, Any], run: RunDir) -> Experiment:
    """The settings that a task is made of: the study's own weights where the worker has none and can reach them.

    A network that the study trained itself is trained here again, from the same seed, where they cannot be reached.
    """
    if experiment.weights is not None:
        return experiment
    theirs = Path(contract["run"]) / "dense.safetensors"
    if not theirs.is_file():
        return experiment
    if contract["decided"][CAME_TRAINED]:
        return experiment.replace(weights=str(theirs))
    for name in ("dense.safetensors", "checkpoint/elastic.safetensors", "checkpoint/slimmed.safetensors"):
        if (source := Path(contract["run"]) / name).is_file():
            run.file(name).parent.mkdir(exist_ok=True)
            run.file(name).write_bytes(source.read_bytes())
    return experiment
