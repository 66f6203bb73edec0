"""A process that scores candidates: the side that runs in it, and the handle that its parent holds."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.foundations.references import importable_here
from autoprune.foundations.user_code import described
from autoprune.run.score import Estimate
from autoprune.techniques.homes.base import CandidateScore, Scored, ScoreJob
from autoprune.techniques.homes.child import Child

__all__ = ["Failure", "Worker", "answer", "numerics", "packed", "scored", "use_numerics"]


@dataclass(frozen=True)
class Failure:
    """What a process could not do.

    Attributes:
        why: One line.
        starting: Whether it could not even begin: none of its kind will.
    """

    why: str
    starting: bool = False


class Worker(Child):
    """A process of one thread that scores one candidate at a time.

    Args:
        path: File of the score (`torch.save`), whose tensors it maps into memory and shares with its siblings.
    """

    def __init__(self, path: Path) -> None:
        self.job: ScoreJob | None = None
        super().__init__(_serve, str(path), numerics())

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


def _serve(connection: Connection, path: str, computing: dict[str, Any]) -> None:
    """What runs in the process."""
    try:
        score = _loaded(path, computing)
    except Exception as error:  # noqa: BLE001  # unpickling runs the user's modules
        connection.send(Failure(described(error), starting=True))
        return
    while True:
        choices, against = connection.recv()
        connection.send(answer(score, choices, against))


def _loaded(path: str, computing: dict[str, Any]) -> CandidateScore:
    use_numerics(computing)
    with importable_here():
        score: CandidateScore = torch.load(path, mmap=True, weights_only=False)  # written by the parent
    return score


def numerics() -> dict[str, Any]:
    """What this process computes by beside its tensors."""
    return {"dtype": torch.get_default_dtype(), "matmul": torch.get_float32_matmul_precision()}


def use_numerics(computing: dict[str, Any], threads: int = 1) -> None:
    """Compute by the same as the process that these are of, with so many threads."""
    torch.set_num_threads(threads)
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
