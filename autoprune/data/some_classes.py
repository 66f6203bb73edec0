"""Some of a data set's classes: `digits@0-4` and `digits@5-9` are two tasks of one kind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from autoprune.data.base import DataSet
from autoprune.data.batches import TensorBatches
from autoprune.errors import InputError

__all__ = ["classes_in", "with_classes"]

_SPEC = re.compile(r"(.+)@(\d{1,6})-(\d{1,6})")


def classes_in(spec: str) -> tuple[str, tuple[int, int] | None]:
    """A data set's name, and the first and last class that are meant; None for all.

    Raises:
        InputError: If fewer than two classes are meant.

    >>> classes_in("digits@5-9"), classes_in("digits")
    (('digits', (5, 9)), ('digits', None))
    """
    found = _SPEC.fullmatch(spec)
    if found is None:
        return spec, None
    first, last = int(found[2]), int(found[3])
    if first >= last:
        raise InputError(f"{spec}: write at least two classes, the lower number first, such as {found[1]}@0-4")
    return found[1], (first, last)


def with_classes(data: DataSet, first: int, last: int) -> DataSet:
    """The images of some classes in all splits; classes are numbered from 0 again, inputs are normalised as before.

    Args:
        data: Its batches hold byte images in memory, as the built-in sets' do.
        first: The lowest class.
        last: The highest class.

    Raises:
        InputError: If there are no such classes, or its images are not held in memory.
    """
    name = f"{data.name}@{first}-{last}"
    if last >= data.classes:
        raise InputError(f"{name}: {data.name} has the classes 0 to {data.classes - 1}")
    names = ("train", "calibration", "search", "test")
    parts: dict[str, Any] = {each: _some(name, getattr(data, each), first, last) for each in names}
    counts = {each: len(parts[each].images) for each in data.counts if each in parts}
    return replace(data, name=name, classes=last - first + 1, counts=counts, **parts)


def _some(name: str, batches: Iterable[Any], first: int, last: int) -> TensorBatches:
    if not isinstance(batches, TensorBatches):
        raise InputError(f"{name}: classes can be chosen of built-in data sets alone")
    chosen = (batches.labels >= first) & (batches.labels <= last)
    return TensorBatches(
        batches.images[chosen],
        batches.labels[chosen] - first,
        batches.batch_size,
        batches.normalise,
        shuffle=batches.shuffle,
        augment=batches.augment,
        seed=batches.seed,
    )
