"""The directory of a run: settings, journal, episodes; written so that a kill at any moment loses nothing finished."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import yaml

from autoprune.errors import InputError, RunError
from autoprune.experiment import Experiment
from autoprune.files import read_json, write_json, write_text

__all__ = ["RunDir", "environment"]

Value = TypeVar("Value")

_RECORDED_PACKAGES = ("torch", "numpy", "gymnasium", "stable-baselines3", "optuna", "onnx", "onnxruntime", "scipy")


class RunDir:
    """A run's folder, locked for this process while it is open.

    The lock is the kernel's: it goes when the process goes, however it goes, and child processes do not hold it.

    Attributes:
        path: The folder.
        experiment: The resolved settings.
        created: Whether this process made the folder.
        notices: What differs from the machine that started the run, a line each.
    """

    def __init__(self, path: Path, experiment: Experiment, *, resume: bool = False, overwrite: bool = False) -> None:
        self.path = path
        self.notices: list[str] = []
        self.created = not path.exists()
        old = is_run(path)
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file; choose another --run")
        if path.exists() and any(path.iterdir()) and not old:
            raise RunError(f"{path} exists and is no run; choose another --run")
        if old and not (resume or overwrite):
            raise RunError(f"{path} exists; use --resume to go on, --overwrite to start anew, or choose another --run")
        self._lock = self._acquire()
        try:
            if old and overwrite:
                self._clear()
                old = False
            self.experiment = self._resumed(experiment) if old else experiment
            if not old:
                self._write_settings()
            self._journal: dict[str, Any] = self._read_journal()
        except BaseException:
            self.close()
            raise

    def _acquire(self) -> IO[str]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("a")
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {error.strerror}") from error
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise RunError(f"{self.path} is in use by another process") from None
        return lock

    def _clear(self) -> None:
        for entry in self.path.iterdir():
            if entry.name == ".lock":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _write_settings(self) -> None:
        content = {"settings": self.experiment.model_dump(mode="json"), "environment": environment()}
        write_text(self.path / "experiment.yaml", yaml.safe_dump(content, sort_keys=False))

    def _resumed(self, experiment: Experiment) -> Experiment:
        stored, recorded = read_settings(self.path)
        for name in Experiment.model_fields:
            was, now = getattr(stored, name), getattr(experiment, name)
            if was != now and name != "run":
                raise RunError(
                    f"{self.path} was started with {name} = {was}, not {now}; leave it out, or choose another --run"
                )
        now_here = environment()
        for key, was in recorded.items():
            if was != now_here.get(key):
                self.notices.append(
                    f"{key} was {was} when the run started, now {now_here.get(key)}: results may differ"
                )
        return stored

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
        self._lock.close()

    def discard(self) -> None:
        """Remove the folder if this process made it: a run refused at the start leaves nothing behind."""
        self.close()
        if self.created:
            shutil.rmtree(self.path, ignore_errors=True)
            parent = self.path.parent
            if parent.name == "runs" and not any(parent.iterdir()):
                parent.rmdir()

    def file(self, name: str) -> Path:
        """Path of a file in the run."""
        return self.path / name

    def once(self, key: str, compute: Callable[[], Value]) -> Value:
        """A value that decided something: computed the first time, read back ever after.

        Args:
            key: Name in the journal.
            compute: Returns JSON-able content; called only if the journal lacks the key.
        """
        if key not in self._journal:
            self.note(key, compute())
        value: Value = self._journal[key]
        return value

    def noted(self, key: str) -> Any:
        """What the journal holds under a key; None if nothing."""
        return self._journal.get(key)

    def note(self, key: str, value: Any) -> None:
        """Write a value into the journal, atomically."""
        journal = {**self._journal, key: json.loads(json.dumps(value, allow_nan=False))}
        write_json(self.path / "checkpoint" / "journal.json", journal)
        self._journal = journal

    # Episodes ------------------------------------------------------------------------------------------------

    @property
    def _episodes_path(self) -> Path:
        return self.path / "episodes.jsonl"

    def episodes(self) -> list[dict[str, Any]]:
        """Every finished episode, in order; a torn last line is dropped, and cut off the file.

        Raises:
            InputError: If a line that is not the last is damaged.
        """
        if not self._episodes_path.exists():
            return []
        rows, good = [], 0
        content = self._episodes_path.read_bytes()
        lines = content.splitlines(keepends=True)
        for number, line in enumerate(lines):
            row = _parsed(line)
            if row is None:
                if number == len(lines) - 1:
                    break
                raise InputError(f"{self._episodes_path}: line {number + 1} is damaged")
            rows.append(row)
            good += len(line)
        if good < len(content):
            os.truncate(self._episodes_path, good)
        return rows

    def append_episode(self, row: dict[str, Any]) -> None:
        """Add a finished episode; it is on disk when this returns."""
        line = json.dumps(row, allow_nan=False) + "\n"
        try:
            with self._episodes_path.open("a", encoding="utf-8") as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise InputError(
                f"cannot write {self._episodes_path}: {error.strerror}; finished episodes are safe"
            ) from error


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return (path / "experiment.yaml").is_file()


def read_settings(path: Path) -> tuple[Experiment, dict[str, Any]]:
    """The settings of a run and the environment that it was started in.

    Raises:
        RunError: If the folder holds no run.
    """
    if not is_run(path):
        raise RunError(f"there is no run at {path}")
    experiment = Experiment.read(path / "experiment.yaml", {})
    content = yaml.safe_load((path / "experiment.yaml").read_text(encoding="utf-8"))
    recorded = content.get("environment", {})
    return experiment, recorded if isinstance(recorded, dict) else {}


def environment() -> dict[str, Any]:
    """What could change a result on this machine: versions, threads, the processor."""
    import torch

    versions = dict(_versions())
    return {
        "python": platform.python_version(),
        **versions,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "train_threads": torch.get_num_threads(),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for package in _RECORDED_PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def _parsed(line: bytes) -> dict[str, Any] | None:
    """An episode's line as a mapping; None if it is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
