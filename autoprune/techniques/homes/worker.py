"""A process that scores candidates: the side that runs in it, and the handle that its parent holds."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.foundations.references import importable_here
from autoprune.foundations.user_code import described
from autoprune.run.score import Estimate
from autoprune.techniques.homes.base import CandidateScore, Scored, ScoreJob

__all__ = ["Failure", "Worker", "answer", "numerics", "packed", "scored", "use_numerics"]

_SECONDS_TO_END = 0.5


@dataclass(frozen=True)
class Failure:
    """What a process could not do.

    Attributes:
        why: One line.
        starting: Whether it could not even begin: none of its kind will.
    """

    why: str
    starting: bool = False


class Worker:
    """A process of one thread that scores one candidate at a time.

    It ends when its parent ends, however that comes about. Ctrl-C in a
    terminal reaches it, too, and is left to the parent.

    Args:
        path: File of the score (`torch.save`), whose tensors it maps into memory and shares with its siblings.
    """

    def __init__(self, path: Path) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.job: ScoreJob | None = None
        self._process = context.Process(target=_serve, args=(theirs, str(path), numerics()), daemon=True)
        with _without_interruption():
            self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        """The process."""
        return self._process.pid

    def send(self, job: ScoreJob) -> None:
        """Give it a candidate; a process that is gone is noticed when its answer is read."""
        self.job = job
        with contextlib.suppress(OSError):
            self.connection.send((dict(job.choices), packed(job.against)))

    def receive(self) -> Scored | Failure | None:
        """Its answer, once there is one; None if the process is gone."""
        try:
            found = self.connection.recv()
        except (EOFError, OSError):
            return None
        return scored(found)

    def end(self) -> int | None:
        """End the process at once; its exit code, negative for a signal."""
        self.connection.close()
        self._process.join(0 if self._process.is_alive() else None)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_SECONDS_TO_END)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        return self._process.exitcode


def _serve(connection: Connection, path: str, computing: dict[str, Any]) -> None:
    """What runs in the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the parent is gone: nobody is left to tell
        try:
            score = _loaded(path, computing)
        except Exception as error:  # noqa: BLE001  # unpickling runs the user's modules
            connection.send(Failure(described(error), starting=True))
            return
        while True:
            choices, against = connection.recv()
            connection.send(answer(score, choices, against))


def _end_with_the_parent() -> None:
    """Even in the midst of a candidate, when nobody looks at the pipe."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _loaded(path: str, computing: dict[str, Any]) -> CandidateScore:
    use_numerics(computing)
    with importable_here():
        score: CandidateScore = torch.load(path, mmap=True, weights_only=False)  # written by the parent
    return score


def numerics() -> dict[str, Any]:
    """What this process computes by beside its tensors."""
    return {"dtype": torch.get_default_dtype(), "matmul": torch.get_float32_matmul_precision()}


def use_numerics(computing: dict[str, Any]) -> None:
    """Compute by the same as the process that these are of, with one thread."""
    torch.set_num_threads(1)
    torch.set_default_dtype(computing["dtype"])
    torch.set_float32_matmul_precision(computing["matmul"])


def answer(score: CandidateScore, choices: dict[str, int], against: tuple[int, bytes] | None) -> Any:
    """A candidate's score as plain values, for another process; `Failure` where there is none."""
    try:
        found = score(ScoreJob(choices, _unpacked(against)))
    except Exception as error:  # noqa: BLE001  # whoever asked scores it again, and reports what comes of it
        return Failure(described(error))
    return found.estimate.value, found.estimate.share, packed(found.answers), found.seconds


def scored(found: Any) -> Scored | Failure:
    """The score of such an answer."""
    if isinstance(found, Failure):
        return found
    value, share, answers, seconds = found
    return Scored(Estimate(value, share), _unpacked(answers), seconds)


def packed(flags: Tensor | None) -> tuple[int, bytes] | None:
    """Bool (n,) as plain bytes: torch's own way between processes opens a file for every tensor."""
    return None if flags is None else (len(flags), np.packbits(flags.cpu().numpy()).tobytes())


def _unpacked(content: tuple[int, bytes] | None) -> Tensor | None:
    if content is None:
        return None
    count, bits = content
    return torch.from_numpy(np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(np.bool_))


@contextlib.contextmanager
def _without_interruption() -> Iterator[None]:
    """SIGINT waits, and a process that is started here never gets it: while it imports, it would print a traceback."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # the first process starts it, which lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
