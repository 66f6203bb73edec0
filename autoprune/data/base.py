"""A data set as everything else sees it, and the contract of where one comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from autoprune.data.batches import Normalisation

__all__ = ["DataSet", "DataSource"]

Files = TypeVar("Files")


@dataclass(frozen=True)
class DataSet:
    """Four disjoint splits of one task.

    Attributes:
        name: As the user wrote it.
        train: Augmented batches, in an order of the epoch's own; what networks learn from.
        calibration: Batches for BatchNorm re-estimation and reconstruction; never learned from by the built-in sets.
        search: Batches on which candidates are scored.
        test: Batches that are touched once, at the end.
        classes: Number of classes; 0 when the task is not classification.
        shape: (C, H, W) of one image.
        example: One normalised image, float32 (1, C, H, W); of a user's it may be a tuple or mapping of tensors.
        counts: Images in each split; a split of a loader without a length is missing.
        dense_epochs: Epochs that train a dense network of the zoo well.
        normalisation: None when the user's loader has done it.
        sample: A batch of one, as the loader gives it; None where `example` is the whole input, or was handed over.
    """

    name: str
    train: Iterable[Any]
    calibration: Iterable[Any]
    search: Iterable[Any]
    test: Iterable[Any]
    classes: int
    shape: tuple[int, ...]
    example: Any
    counts: Mapping[str, int] = field(default_factory=dict)
    dense_epochs: int = 30
    normalisation: Normalisation | None = None
    sample: Any = None


class DataSource(ABC, Generic[Files]):
    """Where a data set comes from: what `--data NAME` names.

    Life cycle: `autoprune.data.load` makes one source a data set and calls `load`, which calls, in this order and
    once each,

    1. `locate`, which finds the files, or downloads them where they are nowhere on this machine;
    2. `verify`, which refuses files that are not the published ones, before anything of them is used;
    3. `splits`, which deals the images to four disjoint splits.

    The splits are a property of the data set: no seed may move an image from one to another, since weights trained
    in an earlier run must not have seen the images on which a later run scores (`autoprune.data.splits`).

    A source of another package is found by its entry point in the group `autoprune.data`;
    `autoprune.testing.data_source` holds the tests that each must pass.

    Type Args:
        Files: What `locate` returns: a path, as a rule, or None where a package ships the images.

    Args:
        argument: What the user wrote behind the colon of `NAME:ARGUMENT`; "" where nothing.

    Attributes:
        takes: What follows the colon, for messages ("DIR"); "" for a source that takes nothing.
        shape: (C, H, W) of one image, where it is known before anything is loaded.
        classes: How many there are, likewise.
    """

    takes: ClassVar[str] = ""
    shape: ClassVar[tuple[int, int, int] | None] = None
    classes: ClassVar[int | None] = None

    def __init__(self, argument: str = "") -> None:
        self.argument = argument

    @abstractmethod
    def locate(self, data_dir: Path | None) -> Files:
        """Find the files, or download them.

        Args:
            data_dir: Where downloaded files are, or go; None for the user's cache.

        Raises:
            InputError: They are nowhere, and cannot be downloaded.
        """

    def verify(self, files: Files) -> None:
        """Check that the files are the published ones; by default there is nothing to check them against.

        Raises:
            InputError: They are others, or damaged.
        """

    @abstractmethod
    def splits(self, files: Files, *, batch_size: int, seed: int) -> DataSet:
        """Read the files and deal them to train, calibration, search and test.

        Args:
            files: What `locate` returned.
            batch_size: Samples in a training batch.
            seed: Of order and augmentation; not of the splits.

        Raises:
            InputError: The files cannot be read, or hold too few samples.
        """

    def load(self, data_dir: Path | None, *, batch_size: int, seed: int) -> DataSet:
        """Locate, verify and split, see the class."""
        files = self.locate(data_dir)
        self.verify(files)
        return self.splits(files, batch_size=batch_size, seed=seed)
