"""A search's episodes as an Optuna study in the storage, for `optuna-dashboard`; no search reads it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import IntDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, create_trial

from autoprune.agents.optuna_search.quiet import quiet
from autoprune.errors import AutopruneError, RunError, StoreError, first_line
from autoprune.foundations.locks import exclusive
from autoprune.pipeline.problem import Problem
from autoprune.run.records import EpisodeRecord
from autoprune.storage.urls import StorageUrl, redacted

__all__ = ["Mirror", "storage_of"]

_AGAIN = 2.0  # seconds until a trial that could not be written is tried again
_LAST = 10.0  # seconds for what is left when the search ends

EPISODE = "episode"
"""The attribute of a trial that holds its episode's number: trials are written once however often a run goes on."""


class Mirror:
    """Writes episodes as finished trials, beside the search: kept widths as parameters, score and cost as values.

    The budget is a constraint, at most 0 where it is kept. What the study is about stands in its attributes.

    Args:
        url: The storage.
        study: Its name there.
        problem: The network, its score and its budget.
        about: The study's attributes, JSON values.
        say: Told of what could not be written.
        replaces: The `id` in the attributes of a study of this name that goes.

    Raises:
        StoreError: If the storage cannot be used.
        RunError: If it has a study of this name that is somebody else's.
    """

    def __init__(
        self,
        url: StorageUrl,
        study: str,
        problem: Problem,
        about: Mapping[str, Any],
        say: Callable[[str], None],
        *,
        replaces: str | None = None,
    ) -> None:
        self._url, self._problem, self._say = url, problem, say
        try:
            with quiet():
                self._study = self._opened(study, about, replaces)
                self._known = {trial.user_attrs.get(EPISODE) for trial in self._study.get_trials(deepcopy=False)}
        except AutopruneError:
            raise
        except Exception as error:
            raise StoreError(f"the storage {url} cannot be used: {redacted(first_line(error))}") from error
        self._waiting: queue.Queue[FrozenTrial | None] = queue.Queue()
        self._closing: float | None = None
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()

    def _opened(self, name: str, about: Mapping[str, Any], replaces: str | None) -> optuna.Study:
        storage, spec, cost = storage_of(self._url), self._problem.task.scored_as, self._problem.cost
        ours = {about["id"], replaces} - {None}
        for each in storage.get_all_studies():
            if each.study_name == name and each.user_attrs.get("id") not in ours:
                raise RunError(f"{self._url} has a study {name} that is no study of this run; choose another --study")
            if each.study_name == name and each.user_attrs["id"] != about["id"]:
                optuna.delete_study(study_name=name, storage=storage)
        directions = [spec.direction, "minimize"]
        study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
        for key, value in about.items():  # the id first: by it a later process knows the study
            study.set_user_attr(key, value)
        study.set_metric_names([spec.name, f"{cost.kind} ({cost.unit})"])
        return study

    def add(self, record: EpisodeRecord) -> None:
        """An episode, to be written in the background; one that is there already is left."""
        if record.episode not in self._known:
            self._known.add(record.episode)
            self._waiting.put(self._trial(record))

    def close(self) -> None:
        """Write what is left, within seconds."""
        self._closing = time.monotonic() + _LAST
        self._waiting.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        while (trial := self._waiting.get()) is not None:
            if not self._written(trial):
                return

    def _written(self, trial: FrozenTrial) -> bool:
        """Write a trial, again and again; False where the search ended before that came about."""
        while True:
            try:
                self._study.add_trial(trial)
                return True
            except Exception as error:  # noqa: BLE001 - drivers of databases raise what they like; the search goes on
                if self._closing is not None and time.monotonic() > self._closing:
                    why = redacted(first_line(error))
                    self._say(f"{self._url} lacks some episodes ({why}); --resume adds them")
                    return False
                time.sleep(_AGAIN)

    def _trial(self, record: EpisodeRecord) -> FrozenTrial:
        space, limit = self._problem.space, self._problem.limit
        return create_trial(
            params={d.name: record.choices[d.name] for d in space.decisions},
            distributions={d.name: IntDistribution(d.options[0], d.width) for d in space.decisions},
            values=[record.value, record.predicted_cost],
            user_attrs={
                EPISODE: record.episode,
                "agent": record.agent,
                "reward": record.reward,
                "warmup": record.warmup,
            },
            constraints={self._problem.wanted: record.predicted_cost / limit - 1.0},
        )


class _Kernel(JournalFileOpenLock):
    """The kernel's lock, which goes with the process; Optuna's own lock file holds others up after a kill."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._held: Any = None

    def acquire(self) -> bool:
        self._held = exclusive(self._path)
        self._held.__enter__()
        return True

    def release(self) -> None:
        self._held.__exit__(None, None, None)


def storage_of(url: StorageUrl) -> BaseStorage:
    """Optuna's own storage at a place, for one process that writes."""
    if url.kind != "postgresql":
        Path(url.place).parent.mkdir(parents=True, exist_ok=True)
    if url.kind == "journal":
        path = Path(url.place)
        lock = path.with_name(f"{path.name}.lock")
        with exclusive(lock):
            _cut_torn_tail(path)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_Kernel(lock)))
    place = f"sqlite:///{url.place}" if url.kind == "sqlite" else url.place
    return RDBStorage(place, engine_kwargs={"pool_pre_ping": True})


def _cut_torn_tail(path: Path) -> None:
    """Move what a kill left of Optuna's last line into a file beside, or nobody could open the studies; locked."""
    if not path.exists():
        return
    *lines, torn = path.read_bytes().split(b"\n")
    if torn:
        with path.with_name(f"{path.name}.torn").open("ab") as kept:
            kept.write(torn + b"\n")
        with path.open("r+b") as stream:
            stream.truncate(sum(len(line) + 1 for line in lines))
