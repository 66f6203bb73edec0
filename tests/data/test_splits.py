"""Splits are disjoint, balanced, and a property of the data alone."""

import hashlib

import numpy as np
import pytest

from autoprune.data.splits import hashed_order, split
from autoprune.errors import InputError

LABELS = np.array([0] * 60 + [1] * 30 + [2] * 10)


def test_splits_are_disjoint_and_complete() -> None:
    parts = split(LABELS, {"test": 20, "search": 10}, "toy")
    assert {name: len(chosen) for name, chosen in parts.items()} == {"test": 20, "search": 10, "train": 70}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(100))


def test_each_split_has_the_classes_shares() -> None:
    for chosen in split(LABELS, {"test": 20, "search": 10}, "toy").values():
        shares = np.bincount(LABELS[chosen], minlength=3) / len(chosen)
        assert np.abs(shares - [0.6, 0.3, 0.1]).max() <= 0.05


def test_order_within_a_class_is_the_order_of_the_hashes() -> None:
    # Computed here again: what it is must never change, or shipped weights would have seen search images.
    by_hash = sorted(range(30, 60), key=lambda i: hashlib.sha256(f"toy/{i + 30}".encode()).hexdigest())
    order = [index for index in hashed_order(LABELS, "toy") if LABELS[index] == 1]
    assert order == [index + 30 for index in by_hash]


def test_the_global_generators_play_no_part() -> None:
    np.random.seed(1)  # noqa: NPY002 - that it has no influence is what is tested
    first = hashed_order(LABELS, "toy")
    np.random.seed(2)  # noqa: NPY002
    assert np.array_equal(first, hashed_order(LABELS, "toy"))
    assert not np.array_equal(first, hashed_order(LABELS, "another"))


def test_an_image_stays_in_its_place_when_others_come_or_go() -> None:
    names = [f"{i}.png" for i in range(50)]
    whole = [names[i] for i in hashed_order([0] * 50, "toy", names)]
    fewer = [names[:40][i] for i in hashed_order([0] * 40, "toy", names[:40])]
    assert [name for name in whole if name in fewer] == fewer


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InputError, match="too few"):
        split([0, 1], {"test": 2}, "toy")
