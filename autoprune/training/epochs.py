"""Batches whose order depends on the epoch's number alone, so that a training can be resumed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from autoprune.data.batches import TensorBatches
from autoprune.foundations.seeding import reseed
from autoprune.training.trainer import count_batches

__all__ = ["FirstBatches", "InEpochs", "Remembered"]


class InEpochs:
    """The same batches, in an order that depends on the epoch's number alone.

    A user's DataLoader may have a generator of its own, whose state says how often it was read: it is seeded by the
    epoch. One without draws from torch's, which the trainer seeds.

    Args:
        batches: A loader, or batches with `set_epoch`.
        first: Added to the epoch's number: other trainings see other epochs.
    """

    def __init__(self, batches: Iterable[Any], first: int = 0) -> None:
        self.batches, self.first = batches, first

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and augmentation of the next iteration."""
        reseed(self.batches, self.first + epoch)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return count_batches(self.batches)


class FirstBatches:
    """The first so many batches of every epoch.

    Args:
        batches: The whole epochs.
        count: How many of each are used.
    """

    def __init__(self, batches: InEpochs, count: int) -> None:
        self.batches, self.count = batches, count

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and augmentation of the next iteration."""
        self.batches.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self.batches), self.count)

    def __len__(self) -> int:
        return min(self.count, len(self.batches))


class Remembered(InEpochs):
    """As `InEpochs`, for several trainings that see the same epochs: each is drawn once, where all fit into memory.

    Only `TensorBatches` are remembered: a loader of the user's own may draw from torch's generator as it is read, and
    what the network draws then (dropout) would be other numbers.

    Args:
        batches: A loader, or batches with `set_epoch`.
        first: Added to the epoch's number.
        epochs: How many there will be.
        most: Bytes that all of them may take.
    """

    def __init__(self, batches: Iterable[Any], first: int, epochs: int, most: int = 2**27) -> None:
        super().__init__(batches, first)
        self._known: dict[int, list[Any]] = {}
        self._epoch = 0
        self._remembers = isinstance(batches, TensorBatches) and _bytes_of(batches) * epochs <= most

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and augmentation of the next iteration."""
        super().set_epoch(epoch)
        self._epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        if not self._remembers:
            return super().__iter__()
        if self._epoch not in self._known:
            self._known[self._epoch] = list(super().__iter__())
        return iter(self._known[self._epoch])


def _bytes_of(batches: TensorBatches) -> int:
    """Of an epoch of float32 images."""
    images: Tensor = batches.images
    return images.numel() * 4 + len(images) * 8
