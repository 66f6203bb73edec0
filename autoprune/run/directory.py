"""The directory of a run: settings, journal, episodes; written so that a kill at any moment loses nothing finished."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, Self, cast

import yaml
from typing_extensions import TypeVar

from autoprune.errors import InputError, RunError
from autoprune.foundations.files import read_json, read_yaml, write_json, write_text
from autoprune.foundations.json_lines import append_row, read_rows
from autoprune.foundations.locks import lock_now
from autoprune.run import recovery
from autoprune.run.environment import environment
from autoprune.run.experiment import Experiment
from autoprune.run.recovery import is_run, refuse_existing
from autoprune.run.settings.stored import StoredSettings

__all__ = ["RunDir", "environment", "is_run", "read_settings", "refuse_existing", "refuse_other_settings"]

Value = TypeVar("Value")
Stored = TypeVar("Stored", bound=StoredSettings, default=Experiment)

_open: set[Path] = set()  # by this process, which the kernel's lock does not keep from its own runs

_STAGE = "checkpoint/stage"  # what a process is at; one that was killed leaves it behind


class RunDir(Generic[Stored]):
    """A run's folder, locked for this process while it is open.

    The lock is the kernel's: it goes when the process goes, however it goes, and child processes do not hold it.

    Args:
        path: The folder; made if it is missing.
        experiment: The resolved settings.
        resume: Go on with a run that exists; its settings must be the same.
        overwrite: Replace a run that exists. The old one goes when the new one is marked as started.
        device: Fingerprint of the target, recorded beside the environment.

    Attributes:
        path: The folder.
        experiment: The resolved settings.
        created: Whether this process made the folder.
        notices: What differs from the machine that started the run, and where a killed process ended; a line each.
    """

    def __init__(
        self,
        path: Path,
        experiment: Stored,
        *,
        resume: bool = False,
        overwrite: bool = False,
        device: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.notices: list[str] = []
        self.created = not path.exists()
        refuse_existing(path, resume=resume, overwrite=overwrite)
        self._lock = self._acquire()
        self._fresh = False  # whether this process began the run, and nothing is stored yet
        self._journal: dict[str, Any] = {}
        try:
            with recovery.reported(f"cannot write to {path}"):
                self._open(experiment, resume, overwrite, dict(device or {}))
        except BaseException:
            self.discard()
            raise

    def _open(self, experiment: Stored, resume: bool, overwrite: bool, device: dict[str, str]) -> None:
        recovery.recover(self.path)
        recovery.sweep(self.path)
        refuse_existing(self.path, resume=resume, overwrite=overwrite)  # again, now that it is locked
        here = environment() | {f"device {key}": value for key, value in device.items()}
        if is_run(self.path) and not overwrite:
            self.experiment = self._resumed(experiment, here)
            self._journal = self._read_journal()
            return
        if is_run(self.path):
            recovery.set_aside(self.path)
        self._fresh = True
        self.experiment = experiment
        content = {"settings": experiment.model_dump(mode="json"), "environment": here}
        write_text(self.path / recovery.SETTINGS, yaml.safe_dump(content, sort_keys=False))

    def _acquire(self) -> IO[str]:
        if self.path.resolve() in _open:
            raise RunError(f"{self.path} is in use by this process already")
        with recovery.reported(f"cannot write to {self.path}"):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = lock_now(self.path / recovery.LOCK)
        if lock is None:
            raise RunError(f"{self.path} is in use by another process")
        self._place = self.path.resolve()
        _open.add(self._place)
        return lock

    def _resumed(self, experiment: Stored, here: Mapping[str, Any]) -> Stored:
        stored, recorded = read_settings(self.path, type(experiment))
        refuse_other_settings(self.path, stored, experiment)
        for key in (*recorded, *(key for key in here if key not in recorded)):
            was, now = recorded.get(key), here.get(key)
            if was != now:
                self.notices.append(f"{key} was {was} when the run started, now {now}: results may differ")
        with contextlib.suppress(OSError):
            died = self.file(_STAGE).read_text(encoding="utf-8", errors="replace").strip()
            self.notices += [f'the last process ended in the stage "{died}"; going on there'] if died else []
        return stored.replace(**{name: getattr(experiment, name) for name in experiment.may_differ})

    def _read_journal(self) -> dict[str, Any]:
        path = self.path / "checkpoint" / "journal.json"
        return read_json(path, "run journal") if path.exists() else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        if not self._lock.closed:
            self._lock.close()
            _open.discard(self._place)

    def mark_started(self) -> None:
        """The run is under way: from now on it is kept whatever happens, and what it replaced is let go."""
        self._fresh = False
        recovery.drop_replaced(self.path)

    @property
    def started(self) -> bool:
        """Whether something is there that took time: a profile, a training's checkpoint, weights, episodes."""
        worth = (
            "checkpoint/profile-*.json",
            "checkpoint/*.pt",
            "checkpoint/blocks/*",
            "dense.safetensors",
            "episodes.jsonl",
        )
        places = ("", "steps/*/")  # a job of several jobs keeps each in a run of its own
        return any(True for place in places for pattern in worth for _ in self.path.glob(place + pattern))

    def discard(self) -> None:
        """Remove what this process began, and put back what it replaced: a run refused at the start leaves nothing."""
        if self._fresh and not recovery.restore(self.path):
            recovery.clear(self.path)
            if self.created:
                self.file(recovery.LOCK).unlink(missing_ok=True)
                recovery.remove_empty(self.path)
        elif self.created and not is_run(self.path):
            self.file(recovery.LOCK).unlink(missing_ok=True)
            recovery.remove_empty(self.path)
        self._fresh = False
        self.close()

    def file(self, name: str) -> Path:
        """Path of a file in the run."""
        return self.path / name

    def describe(self, section: str, content: Mapping[str, Any]) -> None:
        """Keep in the experiment's file, beside the settings, what followed from them; for people."""
        path = self.file(recovery.SETTINGS)
        whole = read_yaml(path, "experiment file")
        if isinstance(whole, dict) and whole.get(section) != content:
            write_text(path, yaml.safe_dump({**whole, section: dict(content)}, sort_keys=False))

    def in_stage(self, what: str | None) -> None:
        """Keep what this process is at, so that one that goes on after it was killed can say so; None at its end.

        A note for people: where it cannot be written, it is left out.
        """
        path = self.file(_STAGE)
        with contextlib.suppress(OSError):
            if what is None:
                path.unlink(missing_ok=True)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".tmp")
            fresh.write_text(what, encoding="utf-8")
            fresh.replace(path)

    def once(self, key: str, compute: Callable[[], Value]) -> Value:
        """A value that decided something: computed the first time, read back ever after.

        Args:
            key: Name in the journal.
            compute: Returns JSON-able content; called only if the journal lacks the key.
        """
        if key not in self._journal:
            self.remember(key, compute())
        value: Value = self._journal[key]
        return value

    def recall(self, key: str) -> Any:
        """What the journal holds under a key; None if nothing."""
        return self._journal.get(key)

    def remember(self, key: str, value: Any) -> None:
        """Write a value into the journal, atomically."""
        journal = {**self._journal, key: json.loads(json.dumps(value, allow_nan=False))}
        write_json(self.path / "checkpoint" / "journal.json", journal)
        self._journal = journal

    # Rows: files that grow line by line --------------------------------------------------------------------------

    def episodes(self) -> list[dict[str, Any]]:
        """Every finished episode, in order; see `rows`."""
        return self.rows("episodes.jsonl")

    def append_episode(self, row: dict[str, Any]) -> None:
        """Add a finished episode; it is on disk when this returns."""
        self.append_row("episodes.jsonl", row)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Every whole line of a file of rows, in order; a torn last line is dropped, and cut off the file.

        Raises:
            InputError: If a line that is not the last is damaged.
        """
        path = self.file(name)
        found = read_rows(path)
        if path.exists() and found.size < path.stat().st_size:
            os.truncate(path, found.size)
        return found.rows

    def append_row(self, name: str, row: dict[str, Any]) -> None:
        """Add a line to a file of rows; it is on disk when this returns."""
        path = self.file(name)
        try:
            append_row(path, row)
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error.strerror}; finished {path.stem} are safe, --resume goes on"
            ) from error


def refuse_other_settings(path: Path, stored: StoredSettings, now: StoredSettings) -> None:
    """Refuse to go on with a run under other settings than it was started with, but for where things lie.

    Args:
        path: The run, for the message.
        stored: What it was started with.
        now: What is asked for.

    Raises:
        RunError: Names the first setting that differs.
    """
    for name in type(now).model_fields:
        was, wanted = getattr(stored, name), getattr(now, name)
        if was != wanted and name not in now.may_differ:
            raise RunError(
                f"{path} was started with {name} = {was}, not {wanted}; leave it out, or choose another --run"
            )


def read_settings(path: Path, kind: type[Stored] | None = None) -> tuple[Stored, dict[str, Any]]:
    """The settings of a run and the environment that it was started in.

    Args:
        path: The run.
        kind: What its settings are; an experiment if None.

    Raises:
        RunError: If the folder holds no run.
    """
    if not is_run(path):
        inside = sorted(p.parent.name for p in path.glob(f"*/{recovery.SETTINGS}")) if path.is_dir() else []
        hint = f"; it holds {', '.join(inside[:4])}: name one of them" if inside else ""
        raise RunError(f"there is no run at {path}{hint}")
    experiment = cast("type[Stored]", kind or Experiment).read(path / "experiment.yaml", {})
    content = read_yaml(path / "experiment.yaml", "experiment file")
    recorded = content.get("environment", {})
    return experiment, recorded if isinstance(recorded, dict) else {}
