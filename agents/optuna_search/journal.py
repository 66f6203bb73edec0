"""A study as a file in the run's folder, for `optuna-dashboard` and for people; the search itself never reads it."""

from __future__ import annotations

from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study, create_study
from optuna.trial import FrozenTrial

from autoprune.errors import InputError

__all__ = ["JOURNAL", "Journal"]

JOURNAL = "optuna-journal.log"
"""The file's name in the folder of a run."""


class _Unlocked(JournalFileOpenLock):
    """No lock: a run's folder is locked already, and a lock left by a kill would hold up the next process."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return


class Journal:
    """A copy of a study in one file, written anew at the start and then trial by trial.

    Args:
        folder: Where it lies.
        study: What is copied: its directions and the trials that it has.

    Raises:
        InputError: If the file cannot be written.
    """

    def __init__(self, folder: Path, study: Study) -> None:
        self._path = folder / JOURNAL
        try:
            self._path.unlink(missing_ok=True)
            self._copy = create_study(
                storage=self._storage(), study_name=folder.resolve().name, directions=study.directions
            )
        except OSError as error:
            raise self._failed(error) from error
        for trial in study.trials:
            self.add(trial)

    def add(self, trial: FrozenTrial) -> None:
        """Append a finished trial; it is on disk when this returns.

        Raises:
            InputError: If the file cannot be written.
        """
        try:
            self._copy.add_trial(trial)
        except OSError as error:
            raise self._failed(error) from error

    def _storage(self) -> BaseStorage:
        return JournalStorage(JournalFileBackend(str(self._path), lock_obj=_Unlocked(str(self._path))))

    def _failed(self, error: OSError) -> InputError:
        return InputError(f"cannot write {self._path}: {error.strerror or error}; episodes are safe, --resume goes on")
