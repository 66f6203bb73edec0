"""Batches: normalised, repeatable, and cropped and flipped as said."""

import pytest
import torch

from autoprune import data
from autoprune.data import Augmentation, Normalisation, TensorBatches
from autoprune.errors import InputError

PLAIN = Normalisation((0.0,), (1.0,))


def images(count: int = 10) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def batches(count: int = 10, size: int = 4, **options) -> TensorBatches:
    return TensorBatches(images(count), torch.arange(count), size, PLAIN, **options)


def test_normalisation_is_mean_and_deviation_of_each_channel() -> None:
    pixels = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = Normalisation.of(pixels)
    scaled = pixels.double() / 255
    assert found.mean == pytest.approx(scaled.mean((0, 2, 3)).tolist())
    assert found.std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist())
    normal = found(pixels)
    assert normal.dtype == torch.float32
    assert normal.mean((0, 2, 3)).abs().max() < 1e-5
    assert torch.allclose(normal.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)


def test_images_of_one_colour_are_refused() -> None:
    with pytest.raises(InputError, match="one colour"):
        Normalisation.of(torch.full((2, 1, 3, 3), 7, dtype=torch.uint8))


def test_unshuffled_batches_are_all_images_in_order() -> None:
    loader = batches()
    found = list(loader)
    assert [len(labels) for _, labels in found] == [4, 4, 2]
    assert len(loader) == 3
    assert torch.equal(torch.cat([labels for _, labels in found]), torch.arange(10))
    assert torch.equal(torch.cat([pixels for pixels, _ in found]), images().float() / 255)


def test_an_epoch_is_repeated_exactly_and_another_differs() -> None:
    loader = batches(shuffle=True, augment=Augmentation(1, flip=True), seed=1)
    runs = []
    for epoch in (3, 3, 4):
        loader.set_epoch(epoch)
        runs.append([(pixels.clone(), labels.clone()) for pixels, labels in loader])
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(runs[0], runs[1], strict=True))
    assert not all(torch.equal(a[1], b[1]) for a, b in zip(runs[0], runs[2], strict=True))
    other = batches(shuffle=True, seed=2)
    other.set_epoch(3)
    assert not torch.equal(torch.cat([b[1] for b in other]), torch.cat([b[1] for b in runs[0]]))


def test_shuffled_batches_are_whole_and_without_repeats() -> None:
    loader = batches(shuffle=True)
    labels = torch.cat([batch[1] for batch in loader])
    assert len(loader) == 2
    assert len(labels) == len(labels.unique()) == 8


def test_the_global_generator_is_neither_used_nor_moved() -> None:
    before = torch.get_rng_state()
    list(batches(shuffle=True, augment=Augmentation(2, flip=True)))
    assert torch.equal(before, torch.get_rng_state())


def test_augmented_images_are_crops_and_mirrors_of_the_original() -> None:
    original = images(1)
    augment = Augmentation(pad=1, flip=True)
    many = augment(original.expand(400, -1, -1, -1), torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(original, [1] * 4)
    allowed = {}
    for row in range(3):
        for column in range(3):
            crop = padded[0, :, row : row + 6, column : column + 8]
            allowed[crop.contiguous().numpy().tobytes()] = (row, column, False)
            allowed[crop.flip(-1).contiguous().numpy().tobytes()] = (row, column, True)
    assert len(allowed) == 18
    seen = [allowed[image.contiguous().numpy().tobytes()] for image in many]  # a KeyError is a wrong image
    assert set(seen) == set(allowed.values())
    assert 140 < sum(flip for *_, flip in seen) < 260


def test_no_flip_means_none() -> None:
    many = Augmentation(pad=0)(images(1).expand(50, -1, -1, -1), torch.Generator().manual_seed(0))
    assert torch.equal(many, images(1).expand(50, -1, -1, -1))


@pytest.mark.parametrize(
    ("count", "size", "said"),
    [(3, 4, "only 3 training images for a batch of 4"), (0, 4, "no images"), (3, 0, "batch size 0")],
)
def test_too_few_images_for_a_batch(count: int, size: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        batches(count, size, shuffle=True)


def test_digits_hold_what_they_say() -> None:
    first, other = (data.load("digits", batch_size=64, seed=seed) for seed in (0, 1))
    assert dict(first.counts) == {"test": 360, "search": 300, "calibration": 128, "train": 1009}
    assert first.shape == (1, 16, 16)
    assert first.example.shape == (1, 1, 16, 16)
    assert first.classes == 10
    parts = ("train", "calibration", "search", "test")
    for part in parts:  # the seed moves the order, never an image
        assert torch.equal(getattr(first, part).images, getattr(other, part).images)
        assert len(getattr(first, part).labels.unique()) == 10
    whole = torch.cat([getattr(first, part).images for part in parts])
    assert len(whole) == 1797
    assert len({image.numpy().tobytes() for image in whole}) == 1797  # all differ, so the splits are disjoint
    assert whole.max() == 255
    normal = torch.cat([first.normalisation(first.train.images)])
    assert abs(float(normal.mean())) < 1e-4
    assert not torch.equal(next(iter(first.train))[1], next(iter(other.train))[1])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("imagenet", "no data set 'imagenet'"),
        ("digit", "nearest name is digits"),
        ("fashion_mnist", "nearest name is fashion-mnist"),
    ],
)
def test_unknown_data_is_answered_with_the_nearest(spec: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        data.load(spec)


def test_a_batch_larger_than_the_digits_is_refused() -> None:
    with pytest.raises(InputError, match="only 1009 training images"):
        data.load("digits", batch_size=2000)


def test_exported_names_exist() -> None:
    assert len(set(data.__all__)) == len(data.__all__)
    assert all(hasattr(data, name) for name in data.__all__)


def test_no_calibration_batch_is_much_smaller_than_the_others() -> None:
    from autoprune.data.images import _even

    for images, size in ((130, 128), (512, 128), (512, 100), (1, 128), (129, 128), (300, 128)):
        even = _even(images, size)
        sizes = [min(even, images - start) for start in range(0, images, even)]
        assert max(sizes) <= size and len(sizes) == -(-images // size) and max(sizes) - min(sizes) < len(sizes)
