"""A run's folder on disk: what belongs there, what a killed process left, and an old run kept until the new one stands.

`--overwrite` may be refused (an impossible budget, a model that cannot be analysed), and then the old run must still be
there. So it is moved into `.replaced/` first, and comes back when the new run is refused. Every step is a rename, and
`recover` puts right whatever a kill left half-done: `experiment.yaml` is moved last, and tells how far it came.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

__all__ = [
    "LOCK",
    "SETTINGS",
    "clear",
    "drop_replaced",
    "foreign",
    "is_run",
    "recover",
    "restore",
    "set_aside",
    "sweep",
]

SETTINGS = "experiment.yaml"
LOCK = ".lock"
_REPLACED, _DROPPED = ".replaced", ".dropped"
# A file that was being written beside its goal: tempfile's eight characters, with or without our suffix.
_UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}(\.tmp)?")


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return (path / SETTINGS).is_file()


def foreign(path: Path) -> list[str]:
    """Names in a folder that is no run's, by which one can tell; empty for a run, an empty or a missing folder."""
    if not path.exists() or is_run(path) or (path / _REPLACED).is_dir():
        return []
    own = {LOCK, _DROPPED}
    return [e.name for e in path.iterdir() if e.name not in own and not _UNFINISHED.fullmatch(e.name)]


def sweep(path: Path) -> None:
    """Remove what a killed process was writing. The caller holds the run's lock."""
    for folder in (path, path / "checkpoint", path / "policies"):
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.is_file() and _UNFINISHED.fullmatch(entry.name):
                entry.unlink()
    shutil.rmtree(path / _DROPPED, ignore_errors=True)


def set_aside(path: Path) -> None:
    """Keep the folder's run in `.replaced/`; a run that had itself replaced that one, and never stood, goes."""
    replaced = path / _REPLACED
    if replaced.is_dir():
        clear(path)
        return
    replaced.mkdir()
    try:
        _move(path, replaced)
    except OSError:
        recover(path)
        raise


def restore(path: Path) -> bool:
    """Put the replaced run back in place of what is there; False if none was replaced."""
    if not (path / _REPLACED).is_dir():
        return False
    clear(path)
    _move(path / _REPLACED, path)
    (path / _REPLACED).rmdir()
    return True


def recover(path: Path) -> None:
    """Put a run back that a kill left between its two places; where the new run has begun, it stays."""
    replaced = path / _REPLACED
    if replaced.is_dir() and not (is_run(path) and is_run(replaced)):
        _move(replaced, path)
        replaced.rmdir()


def drop_replaced(path: Path) -> None:
    """The new run stands: remove the old one."""
    if (path / _REPLACED).is_dir():
        (path / _REPLACED).rename(path / _DROPPED)  # a half-removed one must not look like one to be put back
        shutil.rmtree(path / _DROPPED)


def clear(path: Path) -> None:
    """Remove a run's files, its settings first: what is left of it is no run."""
    (path / SETTINGS).unlink(missing_ok=True)
    for entry in _entries(path):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _move(source: Path, goal: Path) -> None:
    for entry in sorted(_entries(source), key=lambda e: e.name == SETTINGS):
        there = goal / entry.name
        if there.is_dir() and not there.is_symlink():
            shutil.rmtree(there)  # of a new run that was being cleared away
        entry.rename(there)


def _entries(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.name not in (LOCK, _REPLACED, _DROPPED)]
