"""Batches whose order depends on the epoch's number alone, so that a training can be resumed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from autoprune.foundations.seeding import reseed
from autoprune.training.trainer import count_batches

__all__ = ["FirstBatches", "InEpochs"]


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
