"""The first batch of every split, read and given back."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from autoprune.data import DataSet
from autoprune.errors import InputError
from autoprune.foundations.seeding import seeded
from autoprune.foundations.user_code import UserBatches, during

__all__ = ["FEW", "SPLITS", "first_batches", "randomness_kept"]

SPLITS = ("train", "search", "test")

FEW = 16
"""Images of a large batch on which a network is tried."""


def first_batches(data: DataSet) -> dict[str, Any]:
    """The first batch of each split, by its name; the loaders' next iterations are as if none had been read.

    Raises:
        InputError: If a split has none, or reading it fails.
    """
    found: dict[str, Any] = {}
    for part in SPLITS:
        with during(f"reading the first batch of the {part} split"), randomness_kept(getattr(data, part)):
            found[part] = _first(getattr(data, part), part)
    return found


def _first(batches: Iterable[Any], part: str) -> Any:
    if isinstance(batches, UserBatches):
        batch, empty = batches.first()
    else:
        taken = list(zip(range(1), batches, strict=False))
        batch, empty = (taken[0][1], False) if taken else (None, True)
    if empty:
        raise InputError(f"the {part} loader gives no batches; has it fewer images than a batch, or was it used up?")
    return batch


@contextmanager
def randomness_kept(batches: object = None) -> Iterator[None]:
    """Around what may draw: torch's, numpy's and Python's generators, and a loader's own, go on as if nothing had."""
    owners = (getattr(each, "generator", None) for each in (batches, getattr(batches, "sampler", None)))
    own = [generator for generator in owners if isinstance(generator, torch.Generator)]
    states = [generator.get_state() for generator in own]
    numbers, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may draw from it
    try:
        with seeded(0):
            yield
    finally:
        random.setstate(numbers)
        np.random.set_state(arrays)  # noqa: NPY002 - as above
        for generator, state in zip(own, states, strict=True):
            generator.set_state(state)
