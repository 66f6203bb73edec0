"""Pages in the browser about a run while it is under way: TensorBoard and optuna-dashboard, on this machine alone."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from autoprune.errors import InputError, MissingExtraError
from autoprune.run.directory import read_settings
from autoprune.storage.urls import StorageUrl

__all__ = ["Dashboard", "dashboards_of", "served"]

_LOOPBACK = "127.0.0.1"
_OPTUNA = "import sys; from optuna_dashboard._cli import main; sys.argv[0] = 'optuna-dashboard'; main()"
_TENSORBOARD = "from tensorboard.main import run_main; run_main()"
_OF_RUN = "optuna-journal.log"  # what the agent optuna keeps in a run without a storage
_SECONDS_TO_END = 5.0


@dataclass(frozen=True)
class Dashboard:
    """A page and the process that serves it.

    Attributes:
        name: Of the program.
        what: It shows, for people: a folder, or a storage without its password.
        command: Starts it.
        url: Where it is then; of this machine's loopback address, which no other machine reaches.
    """

    name: str
    what: str
    command: tuple[str, ...]
    url: str


def dashboards_of(run: Path, port: int) -> tuple[list[Dashboard], list[str]]:
    """The pages that there can be about a run.

    Args:
        run: Its folder.
        port: The first port that is tried.

    Returns:
        The pages, and a line for each that is missing.

    Raises:
        RunError: If there is no run.
        MissingExtraError: If neither program is installed.
        InputError: If the run has nothing to show, or no port is free.
    """
    storage, ports = _storage(run), _free_ports(port)
    found, missing = [], []
    if (run / "tensorboard").is_dir():
        if find_spec("tensorboard") is None:
            missing.append(str(MissingExtraError("tensorboard", "report")))
        else:
            where = next(ports)
            logs = ("--logdir", str(run / "tensorboard"), "--host", _LOOPBACK, "--port", str(where))
            found.append(Dashboard("tensorboard", str(run / "tensorboard"), _python(_TENSORBOARD, logs), _url(where)))
    if storage is not None:
        if find_spec("optuna_dashboard") is None:
            missing.append(str(MissingExtraError("optuna-dashboard", "distributed")))
        else:
            where = next(ports)
            words = (storage, "--host", _LOOPBACK, "--port", str(where))
            found.append(Dashboard("optuna-dashboard", storage, _python(_OPTUNA, words), _url(where)))
    if not found:
        raise InputError(missing[0] if missing else f"{run} has neither TensorBoard's logs nor a study to show")
    return found, missing


@contextmanager
def served(pages: Sequence[Dashboard]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The programs run while the block does."""
    running = [subprocess.Popen(page.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for page in pages]
    try:
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _storage(run: Path) -> str | None:
    """What optuna-dashboard is to open: the run's storage, else the journal that the agent optuna keeps; as it says it.

    The password of a database is not in a run's files; libpq takes it from the environment.
    """
    written = read_settings(run)[0].storage
    if written is not None:
        url = StorageUrl.parse(written)
        return url.place if url.kind == "journal" else url.without_password
    return str(run / _OF_RUN) if (run / _OF_RUN).is_file() else None


def _python(code: str, words: Sequence[str]) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *words)


def _url(port: int) -> str:
    return f"http://{_LOOPBACK}:{port}/"


def _free_ports(first: int) -> Iterator[int]:
    for port in range(first, min(first + 100, 65_536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_LOOPBACK, port))
            except OSError:
                continue
        yield port
    raise InputError(f"no port from {first} on is free; choose another --port")
