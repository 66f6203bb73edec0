"""`NAME@0-4`: some of a data set's classes, in every split, numbered anew."""

import pytest
import torch

from autoprune.data import known_shape, load
from autoprune.errors import InputError


def test_two_halves_share_out_every_split():
    whole, low, high = load("digits"), load("digits@0-4"), load("digits@5-9")
    assert (low.name, low.classes, high.classes, low.shape) == ("digits@0-4", 5, 5, whole.shape)
    for part in ("train", "calibration", "search", "test"):
        all_of, one, other = (getattr(data, part) for data in (whole, low, high))
        assert len(one.images) + len(other.images) == len(all_of.images)
        assert set(one.labels.tolist()) == set(other.labels.tolist()) == set(range(5))
        assert torch.equal(other.images, all_of.images[all_of.labels >= 5])
        assert torch.equal(other.labels, all_of.labels[all_of.labels >= 5] - 5)
    assert low.counts["test"] == len(low.test.images)
    image = whole.test.images[:1]
    assert torch.equal(low.test.normalise(image), whole.test.normalise(image))
    assert known_shape("digits@0-4") == (known_shape("digits")[0], 5)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("digits@5-2", "write at least two classes, the lower number first"),
        ("digits@5-12", "digits has the classes 0 to 9"),
        ("digitz@0-4", "the nearest name is digits"),
    ],
)
def test_classes_that_there_are_not_are_named(spec, words):
    with pytest.raises(InputError, match=words):
        load(spec)
