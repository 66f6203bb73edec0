"""What is trained elsewhere, and what a place where that is done has to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from autoprune.training import Trainer

__all__ = ["Elsewhere", "Heard", "Place", "Training"]


@dataclass(frozen=True)
class Training:
    """A training that another process can do.

    Attributes:
        trainer: Not begun.
        what: What it is for, for people.
        weights: File that it leaves.
        checkpoint: File of an unfinished one; taken up where it is there, gone in the end.
    """

    trainer: Trainer
    what: str
    weights: Path
    checkpoint: Path


@dataclass(frozen=True)
class Heard:
    """Who hears of what happens elsewhere. Each may raise, which ends all trainings.

    Attributes:
        say: A sentence.
        epoch: The figures of an epoch that is finished.
        resumed: So many epochs had been done before.
        waited: Called at least every second.
    """

    say: Callable[[str], None]
    epoch: Callable[[Mapping[str, Any]], None]
    resumed: Callable[[int], None]
    waited: Callable[[], None]


class Elsewhere(Exception):
    """Trainings could not be done in a place; its text says why, and what is done instead."""


class Place(Protocol):
    """Does trainings, some at the same time; the weights that each leaves are those of this process, bit for bit.

    A training that fails there leaves no file: whoever asked does it again, and reports what comes of it.
    """

    def train(self, trainings: Sequence[Training], heard: Heard) -> None:
        """Do all of them.

        Raises:
            Elsewhere: If they cannot be sent there, or nothing comes back again and again.
        """
