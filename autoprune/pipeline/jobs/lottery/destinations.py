"""Where tickets are carried over to: the same network on another data set, or with another optimiser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch.nn.functional as F

from autoprune.data import DataSet, load
from autoprune.data.batches import TensorBatches
from autoprune.errors import InputError
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.task import check_task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.training.optimizers import OPTIMIZERS

__all__ = ["Part", "destination", "in_size"]


@dataclass(frozen=True)
class Part:
    """A folder in a run's, with files and rows of its own.

    Attributes:
        run: The run.
        name: The folder.
    """

    run: RunDir
    name: str

    def file(self, name: str) -> Path:
        """Path of a file."""
        return self.run.file(f"{self.name}/{name}")

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Every whole line of a file of rows."""
        return self.run.rows(f"{self.name}/{name}")

    def append_row(self, name: str, row: dict[str, Any]) -> None:
        """Add a line to a file of rows; it is on disk when this returns."""
        self.file(name).parent.mkdir(parents=True, exist_ok=True)
        self.run.append_row(f"{self.name}/{name}", row)


def destination(source: Networks, name: str) -> Networks:
    """The networks of a study, on another data set or with another optimiser.

    Args:
        source: Those of the study itself.
        name: A data set, as `--data` takes it, or an optimiser.

    Raises:
        InputError: If there is neither, the network cannot take the data's inputs, or it trains as the study does.
    """
    experiment = source.experiment
    if name in OPTIMIZERS:
        own = source.schedule.optimizer
        if name == own:
            raise InputError(f"--transfer {name}: the study itself trains with {own}; name another optimizer")
        changed = experiment.replace(optimizer=name, lr=None, weight_decay=None, clip=None)
        return Networks(source.task, changed)
    if name == experiment.data:
        raise InputError(f"--transfer {name}: the study itself is on {name}; name another data set")
    task = replace(source.task, data=_data(source, name, experiment))
    check_task(task)
    return Networks(task, experiment.replace(data=name))


def _data(source: Networks, name: str, experiment: Experiment) -> DataSet:
    folder = Path(experiment.data_dir) if experiment.data_dir else None
    data, shape = load(name, folder, batch_size=experiment.batch_size, seed=experiment.seed), source.task.data.shape
    return data if tuple(data.shape) == tuple(shape) else in_size(data, tuple(shape))


def in_size(data: DataSet, shape: tuple[int, ...]) -> DataSet:
    """A data set with its images scaled (bilinear) to another height and width.

    Args:
        data: Its batches hold byte images in memory, as the built-in sets' do.
        shape: (C, H, W) that is wanted.

    Raises:
        InputError: If its images have other channels, or are not held in memory.
    """
    parts = {name: getattr(data, name) for name in ("train", "calibration", "search", "test")}
    if tuple(data.shape)[:-2] != shape[:-2] or not all(isinstance(part, TensorBatches) for part in parts.values()):
        raise InputError(
            f"--transfer {data.name}: its inputs are {list(data.shape)}, and the network is for {list(shape)};"
            " give a data set with inputs of this size"
        )
    train, calibration, search, test = (_scaled(part, shape) for part in parts.values())
    example = F.interpolate(data.example, size=shape[-2:], mode="bilinear", align_corners=False)
    return replace(data, train=train, calibration=calibration, search=search, test=test, shape=shape, example=example)


def _scaled(batches: Iterable[Any], shape: tuple[int, ...]) -> TensorBatches:
    assert isinstance(batches, TensorBatches)  # `in_size` has looked
    images = F.interpolate(batches.images.float(), size=shape[-2:], mode="bilinear", align_corners=False)
    return TensorBatches(
        images.round().to(batches.images.dtype),
        batches.labels,
        batches.batch_size,
        batches.normalise,
        shuffle=batches.shuffle,
        augment=batches.augment,
        seed=batches.seed,
    )
