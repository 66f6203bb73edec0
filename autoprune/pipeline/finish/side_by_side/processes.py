"""Trainings in several processes on this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from autoprune.errors import InputError, first_line
from autoprune.foundations.files import replacing
from autoprune.foundations.references import importable_here
from autoprune.foundations.user_code import described
from autoprune.pipeline.finish.side_by_side.base import Elsewhere, Heard, Training
from autoprune.pipeline.finish.side_by_side.told import Messages, Overheard
from autoprune.pipeline.finish.trainings import train_and_keep
from autoprune.techniques.homes.child import Child
from autoprune.techniques.homes.worker import numerics, use_numerics

__all__ = ["Processes"]

_DEATHS = 2  # of processes, for each of them, before the rest is left to this one
_LOOK = 1.0  # seconds between two looks at the clock


class Processes:
    """Does trainings in processes of so many threads each, which keep their own checkpoints.

    All trainings are written to one file, which every process maps: the images and the teacher are in memory once. A
    process that dies is replaced, and its training taken up from its checkpoint.

    Args:
        path: Where the file lies while the processes run.
        count: How many processes.
        threads: Of each.
    """

    def __init__(self, path: Path, count: int, threads: int) -> None:
        self._path, self._count, self._threads = path, count, threads

    def train(self, trainings: Sequence[Training], heard: Heard) -> None:
        """See `Place`.

        Raises:
            Elsewhere: If they cannot be sent to another process, or processes die again and again.
        """
        self._write(trainings)
        under_way: dict[Child, int] = {}
        try:
            self._all(deque(range(len(trainings))), under_way, heard)
        finally:
            for child in under_way:
                child.end()
            self._path.unlink(missing_ok=True)

    def _write(self, trainings: Sequence[Training]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(self._path) as temporary:
                torch.save(list(trainings), temporary)
        except (OSError, InputError):
            raise
        except Exception as error:  # a network, a loader or a loss of the user's may refuse in any way
            raise Elsewhere(f"they cannot be sent to another process ({first_line(error)})") from error

    def _all(self, waiting: deque[int], under_way: dict[Child, int], heard: Heard) -> None:
        deaths, most = 0, min(self._count, len(waiting))
        while waiting or under_way:
            while waiting and len(under_way) < most:
                child = Child(_serve, str(self._path), numerics(), self._threads, may_have_children=True)
                under_way[child] = self._handed(child, waiting)
            ready = wait([child.connection for child in under_way], _LOOK)
            heard.waited()
            for child in [each for each in under_way if each.connection in ready]:
                message = _received(child)
                if message is None:
                    deaths += 1
                    waiting.appendleft(under_way.pop(child))
                    code = child.end()
                    if deaths >= _DEATHS * most:
                        raise Elsewhere(f"{deaths} processes ended before a training did (exit code {code})")
                elif message[0] == Messages.ENDED:
                    self._freed(child, waiting, under_way)
                else:
                    message[0].pass_on(message[1], heard)

    def _handed(self, child: Child, waiting: deque[int]) -> int:
        number = waiting.popleft()
        child.connection.send(number)
        return number

    def _freed(self, child: Child, waiting: deque[int], under_way: dict[Child, int]) -> None:
        """A training has ended: the process gets the next, or ends."""
        del under_way[child]
        if waiting:
            under_way[child] = self._handed(child, waiting)
        else:
            child.end()


def _received(child: Child) -> tuple[Messages, Any] | None:
    """What a process says; None if it is gone."""
    try:
        found: tuple[Messages, Any] = child.connection.recv()
    except (EOFError, OSError):
        return None
    return found


def _serve(connection: Connection, path: str, computing: dict[str, Any], threads: int) -> None:
    """What runs in the process."""
    use_numerics(computing, threads)
    reporter = Overheard(connection.send)
    try:
        with importable_here():
            trainings: list[Training] = torch.load(path, mmap=True, weights_only=False)  # written by the parent
    except Exception as error:  # noqa: BLE001  # unpickling runs the user's modules
        connection.send((Messages.NOT_REBUILT, described(error)))
        return
    while True:
        training = trainings[connection.recv()]
        try:
            bar = reporter.bar()
            train_and_keep(training.trainer, training.weights, training.checkpoint, bar, training.what, reporter)
        except (EOFError, OSError):
            raise
        except Exception:  # noqa: BLE001  # whoever asked does it again, and reports what comes of it
            pass
        connection.send((Messages.ENDED, None))
