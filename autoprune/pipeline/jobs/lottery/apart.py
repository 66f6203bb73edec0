"""Seeds of a study in processes of their own, which share nothing but the images that they learn from.

Each process trains a seed, training after training, as this one would. Rows are written by this process alone: a row
that another has sent is on disk before that goes on. What a process leaves undone is done here afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from autoprune.errors import InputError, first_line
from autoprune.foundations.files import replacing
from autoprune.foundations.references import importable_here
from autoprune.foundations.user_code import described
from autoprune.pipeline.jobs.lottery.levels import ROWS, UNFINISHED
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.study import SeedStudy, Tally
from autoprune.pipeline.reporter import Reporter
from autoprune.run.directory import RunDir
from autoprune.techniques.homes.child import Child
from autoprune.techniques.homes.worker import numerics, use_numerics

__all__ = ["carry_out_apart"]

_FILE = "checkpoint/seeds.pt"  # what the processes map into memory, while they run
_ROW, _TICK, _SAID, _FAILED, _ENDED = "row", "tick", "said", "failed", "ended"


def carry_out_apart(networks: Networks, run: RunDir, reporter: Reporter, tally: Tally, seeds: Sequence[int]) -> None:
    """Train seeds in `--workers` processes; those that fail there are left as far as they have come, and it is said.

    Args:
        networks: Of the study.
        run: Its folder.
        reporter: Shows sentences.
        tally: Counts trainings.
        seeds: Not all of whose trainings are done.
    """
    experiment = networks.experiment
    count = min(experiment.workers, len(seeds))
    # Sums differ in their last bits between numbers of threads: what the user has set is kept to.
    threads = experiment.train_threads or max(1, torch.get_num_threads() // count)
    try:
        _write(networks, run)
    except Exception as error:  # noqa: BLE001  # a network, a loader or a loss of the user's may refuse in any way
        reporter.say(f"seeds cannot be sent to other processes ({first_line(error)}); they are trained one by one")
        return
    under_way: dict[Child, int] = {}
    waiting = deque(seeds)
    try:
        while waiting or under_way:
            while waiting and len(under_way) < count:
                seed = waiting.popleft()
                under_way[Child(_serve, str(run.path), seed, numerics(), threads, may_have_children=True)] = seed
            ready = wait([child.connection for child in under_way], 1.0)
            for child in [each for each in under_way if each.connection in ready]:
                if not _heard(child, run, reporter, tally, under_way[child]):
                    del under_way[child]
                    child.end()
    finally:
        for child in under_way:
            child.end()
        run.file(_FILE).unlink(missing_ok=True)


def _write(networks: Networks, run: RunDir) -> None:
    path, task = run.file(_FILE), networks.task
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:  # `remake` is a closure, of which a study only asks whether there is one
        content = replace(task, remake=None), networks.experiment, task.remake is not None, run.rows(ROWS)
        torch.save(content, temporary)


def _read(path: Path) -> tuple[Networks, list[dict[str, Any]]]:
    """The networks and the rows that were there."""
    task, experiment, is_named, rows = torch.load(path, mmap=True, weights_only=False)  # written by the parent
    if is_named:
        task.remake = lambda: task
    return Networks(task, experiment), rows


def _heard(child: Child, run: RunDir, reporter: Reporter, tally: Tally, seed: int) -> bool:
    """Take a message of a process; whether it goes on."""
    try:
        kind, value = child.connection.recv()
    except (EOFError, OSError):
        reporter.say(f"the process of seed {seed} ended; the rest of the seed is trained here")
        return False
    if kind == _ROW:
        run.append_row(*value)
        tally.add()
        child.connection.send(True)
    elif kind == _TICK:
        tally.show(**value)
    elif kind in (_SAID, _FAILED):
        reporter.say(value)
    return kind not in (_FAILED, _ENDED)


# What runs in a process -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Shelf:
    """The run's files, seen from a process that may read rows, and asks for new ones to be written."""

    path: Path
    seed: int
    known: list[dict[str, Any]]
    connection: Connection

    def file(self, name: str) -> Path:
        """Path of a file; the unfinished training is this seed's own."""
        return self.path / (f"checkpoint/level-{self.seed}.pt" if name == UNFINISHED else name)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Those that there were, and what this process has added."""
        return list(self.known) if name == ROWS else []

    def append_row(self, name: str, row: dict[str, Any]) -> None:
        """Have it written; it is on disk when this returns."""
        self.connection.send((_ROW, (name, row)))
        self.connection.recv()
        self.known.append(row)


class _Told(Reporter):
    """Sends sentences."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def say(self, sentence: str) -> None:
        """Send it."""
        self._connection.send((_SAID, sentence))


class _Counted(Tally):
    """Sends what is trained; the trainings that are done are counted where their rows are written."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self) -> None:
        """Its row has said it."""

    def show(self, what: str, loss: float) -> None:
        """Send it."""
        self._connection.send((_TICK, {"what": what, "loss": loss}))


def _serve(connection: Connection, path: str, seed: int, computing: dict[str, Any], threads: int) -> None:
    use_numerics(computing, threads)
    try:
        with importable_here():  # the network's code, too, is imported when it is built
            networks, rows = _read(Path(path) / _FILE)
            shelf = _Shelf(Path(path), seed, rows, connection)
            told, tally = _Told(connection), _Counted(connection)
            SeedStudy(networks, shelf, networks.schedule, told, tally, seed).carry_out()
    except (EOFError, OSError):
        raise
    except Exception as error:  # noqa: BLE001  # this process's parent trains the rest, and reports what comes of it
        why = first_line(error) if isinstance(error, InputError) else described(error)
        connection.send((_FAILED, f"seed {seed} in a process of its own: {why}; the rest of it is trained here"))
        return
    connection.send((_ENDED, None))
