"""The contract of a check before a job: one thing of the user's that is tried once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from autoprune.hardware import Target
from autoprune.models.copying import isolated
from autoprune.pipeline.device import target_of
from autoprune.pipeline.preflight.reading import first_batches
from autoprune.pipeline.task import Task
from autoprune.run.experiment import Experiment

__all__ = ["Check", "Subject"]


@dataclass
class Subject:
    """What is tried: a task as a job is given it.

    Attributes:
        task: Left as it is: network, random generators, loaders.
        experiment: The settings.
        forms: Formats that the small network will be exported in: `onnx`.
    """

    task: Task
    experiment: Experiment
    forms: tuple[str, ...] = ()

    @cached_property
    def model(self) -> nn.Module:
        """A copy of the network, for the checks to spoil."""
        return isolated(self.task.model)

    @cached_property
    def batches(self) -> Mapping[str, Any]:
        """The first batch of each split."""
        return first_batches(self.task.data)

    @cached_property
    def target(self) -> Target:
        """Where networks are timed."""
        return target_of(self.experiment)

    @property
    def trains(self) -> bool:
        """Whether the built-in training learns anything from the batches; an own loop has its own."""
        tunes = self.experiment.finetune_epochs != 0 and self.task.finetune is None
        return not self.task.trained or tunes

    @property
    def folder(self) -> Path:
        """The run's folder, or the one that it would be made in."""
        place = self.experiment.run_dir.absolute()
        return next(each for each in (place, *place.parents) if each.exists())


class Check(ABC):
    """One thing that is tried. It keeps nothing, and leaves everything as it was.

    A check is asked in the order of `CHECKS`: the cheap ones first, and none before those whose failure it would only
    report in other words.

    Attributes:
        what: What is tried, for people: "the loss, forward and backward".
    """

    what: ClassVar[str]

    def concerns(self, subject: Subject) -> bool:
        """Whether the job comes to it at all; a job that trains nothing needs no loss."""
        return True

    @abstractmethod
    def run(self, subject: Subject) -> None:
        """Try it.

        Raises:
            InputError: If it fails; whose fault it is, and what to do.
            TargetError: If the target fails.
        """
