"""The process that searches: it alone plans, plays, times and writes the run; workers score what it publishes."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoprune.errors import RunError, StoreError, first_line
from autoprune.pipeline.problem import CAME_TRAINED, PERMUTATION, Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.shared.audience import Audience
from autoprune.pipeline.search.shared.contract import Scoring, fingerprints, shared_settings
from autoprune.pipeline.search.shared.mirror import Mirror
from autoprune.run.experiment import Experiment
from autoprune.run.records import EpisodeRecord
from autoprune.storage.board import Board
from autoprune.storage.registry import open_store
from autoprune.storage.urls import StorageUrl
from autoprune.techniques.homes.base import CandidateScore, Home
from autoprune.techniques.homes.leasing import Leasing
from autoprune.techniques.homes.shared import Shared

__all__ = ["coordinated", "refuse_another_run", "worker_name"]

SCHEMA = "autoprune.study/1"
_DECIDED = ("granularity", PERMUTATION, CAME_TRAINED)  # in the run's journal, before any candidate is scored


def worker_name() -> str:
    """This process's name in a study: no other has it, on whatever machine."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def coordinated(
    problem: Problem, score: CandidateScore, home: Home, reporter: Reporter, *, batch: int, several: bool
) -> tuple[Home, Audience]:
    """A home whose candidates workers score, too, and who keeps the study for `optuna-dashboard`.

    Args:
        problem: The network and the settings, which name the storage.
        score: Scores one candidate.
        home: Where this process scores candidates itself.
        reporter: Told of a storage that cannot be reached.
        batch: Episodes of a round; with 1 there is nothing to share out.
        several: Whether policies of several budgets are compared.

    Raises:
        StoreError: If the storage cannot be reached.
        RunError: If the study is another run's.
    """
    experiment = problem.experiment
    assert experiment.storage is not None  # the caller looked
    url, study = StorageUrl.parse(experiment.storage), experiment.study_name
    board = Board(open_store(experiment.storage, study))
    board.refresh()
    contract = _contract(problem, score, batch=batch, several=several)
    before = board.contract
    refuse_another_run(experiment, before, contract["id"])
    mirror = Mirror(url, study, problem, contract, reporter.say, replaces=before.get("id"))
    board.begin(contract)
    leasing = Leasing(board, home, worker_name(), experiment.lease)
    shared = home if batch == 1 else Shared(score, home, leasing, reporter.say)
    return shared, _Study(board, mirror, reporter.say)


def _contract(problem: Problem, score: CandidateScore, *, batch: int, several: bool) -> dict[str, Any]:
    run = problem.run
    found = run.once("fingerprints", lambda: fingerprints(Scoring(problem, score)))
    _refuse_other_versions(problem.experiment.study_name, found)
    return {
        "schema": SCHEMA,
        "id": run.once("study", lambda: uuid.uuid4().hex),
        "run": str(run.path.resolve()),
        "host": socket.gethostname(),
        "settings": shared_settings(problem.experiment),
        "batch": batch,
        "several": several,
        "decided": {name: value for name in _DECIDED if (value := run.recall(name)) is not None},
        "limit": problem.limit,
        "fingerprints": found,
    }


def refuse_another_run(experiment: Experiment, theirs: Mapping[str, Any], mine: str | None = None) -> None:
    """A study is one run's, and its successor's in the same folder.

    Args:
        experiment: The run's settings.
        theirs: The study's contract; empty where there is none yet.
        mine: The id of the run, if it has one.

    Raises:
        RunError: If the study is another run's.
    """
    here = (str(experiment.run_dir.resolve()), socket.gethostname())
    if theirs and theirs.get("id") != mine and (theirs.get("run"), theirs.get("host")) != here:
        where = f"the study {experiment.study_name} in {StorageUrl.parse(str(experiment.storage))}"
        raise RunError(
            f"{where} is that of the run {theirs.get('run')} on {theirs.get('host')}; choose another --study, or join"
            " it with --worker"
        )


def _refuse_other_versions(study: str, begun: Mapping[str, Any]) -> None:
    """A run that goes on has the fingerprints that it began with, and workers are held to them: so is this process.

    Raises:
        RunError: If it has another autoprune or torch.
    """
    for name, value in fingerprints().items():
        if begun.get(name) != value:
            raise RunError(
                f"the study {study} was begun with {name} {begun.get(name)}, and this process has {value}: its scores"
                f" would be others; go on with {name} {begun.get(name)}, or without --storage and --study"
            )


class _Study(Audience):
    """Keeps the study up to date for people, and sends the workers home at the end."""

    def __init__(self, board: Board, mirror: Mirror, say: Callable[[str], None]) -> None:
        self._board, self._mirror, self._say = board, mirror, say

    def begin(self, rows: Sequence[EpisodeRecord]) -> None:
        for row in rows:
            self._mirror.add(row)

    def finished(self, record: EpisodeRecord) -> None:
        self._mirror.add(record)

    def ended(self) -> None:
        try:
            self._board.write("ended")
        except StoreError as error:
            self._say(f"{first_line(error)}; workers were not told that the search is over")

    def close(self) -> None:
        self._mirror.close()
        self._board.store.close()
