"""Who belongs to which split.

The answer is a property of the data set, never of a run: shipped weights, and any weights that a user trained in
an earlier run, must not have seen the images on which a later run scores its candidates. So no seed enters here, and
no random generator either, whose stream a new version may change: images are ordered by a hash of their number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError

__all__ = ["hashed_order", "split"]


def hashed_order(
    labels: Sequence[int] | NDArray[np.int64], key: str, names: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """An order of all images such that each stretch of it has about the classes' shares of the whole.

    Args:
        labels: The class of each image, (N,).
        key: Name of the data set; other keys give other orders.
        names: What is hashed for each image; None hashes its number.

    Returns:
        A permutation of 0 .. N-1.
    """
    classes = np.asarray(labels, dtype=np.int64)
    named = range(len(classes)) if names is None else names
    digests = [hashlib.sha256(f"{key}/{name}".encode()).digest() for name in named]
    by_hash = np.array(sorted(range(len(classes)), key=digests.__getitem__), dtype=np.int64)
    place = np.empty(len(classes), dtype=np.float64)
    for label in np.unique(classes):
        members = by_hash[classes[by_hash] == label]
        # The k-th of n members is put at (k + 1/2) / n of the whole order: classes interleave evenly.
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return by_hash[np.argsort(place[by_hash], kind="stable")]


def split(
    labels: Sequence[int] | NDArray[np.int64],
    sizes: Mapping[str, int],
    key: str,
    names: Sequence[str] | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Deals images to disjoint splits, in `sizes`' order; what is left is "train".

    Args:
        labels: The class of each image, (N,).
        sizes: Images in each split but train.
        key: Name of the data set.
        names: What is hashed for each image; None hashes its number.

    Returns:
        For each split the indices of its images.

    Raises:
        InputError: If nothing is left for training.
    """
    order = hashed_order(labels, key, names)
    if sum(sizes.values()) >= len(order):
        raise InputError(f"{key} has {len(order)} images, too few for its splits ({dict(sizes)}) and training")
    dealt: dict[str, NDArray[np.int64]] = {}
    start = 0
    for name, size in sizes.items():
        dealt[name] = order[start : start + size]
        start += size
    dealt["train"] = order[start:]
    return dealt
