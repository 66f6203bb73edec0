"""A run's folder on disk: what belongs there, what a kill left, and an old run kept until the new one has begun.

`--overwrite` may be refused (an impossible budget, a model that cannot be analysed), and then the old run must still be
there. So it is moved into `.replaced/` first, and comes back when the new run is refused. Every step is a rename, and
`recover` puts right whatever a kill left half-done: `experiment.yaml` is moved last, and shows how far it came.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from autoprune.errors import RunError

__all__ = [
    "LOCK",
    "SETTINGS",
    "clear",
    "drop_replaced",
    "foreign",
    "is_run",
    "recover",
    "refuse_existing",
    "remove_empty",
    "reported",
    "restore",
    "set_aside",
    "sweep",
]

SETTINGS = "experiment.yaml"
LOCK = ".lock"
_REPLACED, _RETURNING, _DROPPED = ".replaced", ".returning", ".dropped"
# A file that was being written beside its goal: tempfile's eight characters, with or without our suffix.
_UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}(\.tmp)?")


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return (path / SETTINGS).is_file()


def foreign(path: Path) -> list[str]:
    """Names in a folder that is no run's, by which one can tell; empty for a run, an empty or a missing folder."""
    if not path.exists() or is_run(path) or any((path / name).is_dir() for name in (_REPLACED, _RETURNING)):
        return []
    own = {LOCK, _DROPPED}
    return [e.name for e in path.iterdir() if e.name not in own and not _UNFINISHED.fullmatch(e.name)]


def refuse_existing(path: Path, *, resume: bool = False, overwrite: bool = False) -> None:
    """Refuse a folder that a run must not be started in, before any work is done.

    Raises:
        RunError: If the path is a file or somebody else's folder, or holds a run that is neither resumed nor replaced,
            or is to be both.
    """
    if resume and overwrite:
        raise RunError(f"--resume goes on with {path}, --overwrite starts it anew; give one of them")
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file; choose another --run")
    if foreign(path):
        raise RunError(f"{path} exists and is no run; choose another --run")
    if is_run(path) and not (resume or overwrite):
        raise RunError(f"{path} exists; use --resume to go on, --overwrite to start anew, or choose another --run")


def sweep(path: Path) -> None:
    """Remove what a killed process was writing. The caller holds the run's lock."""
    for folder in (path, path / "checkpoint", path / "policies"):
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.is_file() and _UNFINISHED.fullmatch(entry.name):
                entry.unlink()
    shutil.rmtree(path / _DROPPED, ignore_errors=True)


def set_aside(path: Path) -> None:
    """Keep the folder's run in `.replaced/`; a run that had itself replaced that one, and never stood, goes."""
    if (path / _REPLACED).is_dir():
        _clear_for_replaced(path)
        return
    (path / _REPLACED).mkdir()
    try:
        _move(path, path / _REPLACED)
    except OSError:
        recover(path)
        raise


def restore(path: Path) -> bool:
    """Put the replaced run back in place of what is there; False if none was replaced."""
    if not (path / _REPLACED).is_dir():
        return False
    _clear_for_replaced(path)
    recover(path)
    return True


def recover(path: Path) -> None:
    """Put a run back that a kill left between its two places; where the new run has begun, it stays."""
    replaced = path / _REPLACED
    if (path / _RETURNING).is_dir():
        _finish_clearing(path)
    if replaced.is_dir() and not (is_run(path) and is_run(replaced)):
        _move(replaced, path)
        replaced.rmdir()


def _clear_for_replaced(path: Path) -> None:
    """Remove the new run. Its folder's name shows, after a kill, that what lies beside it is to go."""
    (path / _REPLACED).rename(path / _RETURNING)
    _finish_clearing(path)


def _finish_clearing(path: Path) -> None:
    clear(path)
    (path / _RETURNING).rename(path / _REPLACED)


def drop_replaced(path: Path) -> None:
    """The new run has begun: remove the old one."""
    if (path / _REPLACED).is_dir():
        (path / _REPLACED).rename(path / _DROPPED)  # a half-removed one must not look like one to be put back
        shutil.rmtree(path / _DROPPED)


def clear(path: Path) -> None:
    """Remove a run's files, its settings last: after a kill, what is left is still a run."""
    for entry in sorted(_entries(path), key=lambda e: e.name == SETTINGS):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _move(source: Path, goal: Path) -> None:
    for entry in sorted(_entries(source), key=lambda e: e.name == SETTINGS):
        entry.rename(goal / entry.name)


def _entries(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.name not in (LOCK, _REPLACED, _RETURNING, _DROPPED)]


@contextlib.contextmanager
def reported(what: str) -> Iterator[None]:
    """An error of the file system as one of ours."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{what}: {error.strerror or error}") from error


def remove_empty(path: Path) -> None:
    """Remove a folder, and `runs` around it if that is now empty too."""
    with contextlib.suppress(OSError):
        path.rmdir()
        if path.parent.name == "runs":
            path.parent.rmdir()
