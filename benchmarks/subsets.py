"""Part of a data set's images, for benchmarks that would take hours on all of them."""

from __future__ import annotations

from dataclasses import replace

from autoprune.data.base import DataSet
from autoprune.data.batches import TensorBatches

__all__ = ["with_fewer_images"]


def with_fewer_images(data: DataSet, train: int | None = None, search: int | None = None) -> DataSet:
    """The data set with the first images of its training and search splits; the other splits stay whole.

    Splits are dealt by a hash of each image's number, so that the first of them have all classes in equal shares.

    Args:
        data: Of images in memory, as the built-in sets are.
        train: Images that are trained on; all if None.
        search: Images that candidates are scored on; all if None.
    """
    return replace(data, train=_first(data.train, train), search=_first(data.search, search))


def _first(batches: object, most: int | None) -> TensorBatches:
    assert isinstance(batches, TensorBatches)
    own = (
        batches.images[:most],
        batches.labels[:most],
        batches.batch_size,
        batches.normalise,
    )
    return TensorBatches(*own, shuffle=batches.shuffle, augment=batches.augment, seed=batches.seed)
