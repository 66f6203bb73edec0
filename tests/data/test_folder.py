"""Folders of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autoprune import data
from autoprune.data.sources.image_folder import folder, manifest_of
from autoprune.errors import InputError


def picture(path: Path, number: int, *, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def classes(root: Path, each: int = 20, first: int = 0, **options) -> Path:
    for label, name in enumerate(("cat", "dog")):
        for number in range(each):
            picture(root / name / f"{number}.png", first + label * each + number, **options)
    return root


def flat(dataset: data.DataSet) -> list[bytes]:
    parts = (dataset.train, dataset.calibration, dataset.search, dataset.test)
    return [image.numpy().tobytes() for part in parts for image in part.images]


def test_class_folders_are_dealt_to_four_splits(tmp_path: Path) -> None:
    found = data.load(f"folder:{classes(tmp_path)}", batch_size=4, seed=0)
    assert dict(found.counts) == {"train": 26, "test": 6, "search": 4, "calibration": 4}
    assert found.classes == 2
    assert found.shape == (3, 10, 10)  # the shorter side; grey or not by the files
    assert len(set(flat(found))) == 40
    assert flat(found) == flat(data.load(f"folder:{tmp_path}", batch_size=4, seed=5))
    images, labels = next(iter(found.train))
    assert images.shape == (4, 3, 10, 10)
    assert labels.dtype == torch.int64


def test_a_relative_folder_is_found_in_the_data_dir(tmp_path: Path) -> None:
    classes(tmp_path / "pets")
    assert data.load("folder:pets", tmp_path, batch_size=4).counts["train"] == 26


def test_a_given_test_folder_is_the_test_split(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / "test", 3, first=100)
    found = manifest_of(tmp_path)
    assert {path.parent.parent.name for path, _ in found.splits["test"]} == {"test"}
    assert {name: len(pairs) for name, pairs in found.splits.items()} == {
        "test": 6,
        "train": 32,
        "search": 4,
        "calibration": 4,
    }


def test_val_is_search_beside_test_and_test_without(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / "val", 3, first=100)
    assert {path.parent.parent.name for path, _ in manifest_of(tmp_path).splits["test"]} == {"val"}
    classes(tmp_path / "test", 2, first=200)
    found = manifest_of(tmp_path).splits
    assert [len(found[name]) for name in ("train", "calibration", "search", "test")] == [36, 4, 6, 4]


def test_pixels_are_those_of_the_file(tmp_path: Path) -> None:
    classes(tmp_path, size=(8, 8))
    found, manifest = folder(tmp_path, batch_size=4, seed=0), manifest_of(tmp_path)
    for image, (path, _) in zip(found.search.images, manifest.splits["search"], strict=True):
        assert torch.equal(image.permute(1, 2, 0), torch.from_numpy(np.array(Image.open(path))))


def test_grey_images_have_one_channel_and_a_wanted_size(tmp_path: Path) -> None:
    classes(tmp_path, mode="L")
    assert folder(tmp_path, batch_size=4, seed=0, size=16).shape == (1, 16, 16)
    picture(tmp_path / "cat" / "colour.jpg", 99)
    assert folder(tmp_path, batch_size=4, seed=0).shape == (3, 10, 10)


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    def refused(said: str, root: Path = tmp_path, batch_size: int = 4) -> None:
        with pytest.raises(InputError, match=said):
            folder(root, batch_size=batch_size, seed=0)

    refused("no folder", tmp_path / "absent")
    refused("has 0 class folders")
    (tmp_path / "cat").mkdir()
    refused("has 1 class folders")
    (tmp_path / "dog").mkdir()
    refused("cat has no images")
    classes(tmp_path, 1)
    refused("too few")
    classes(tmp_path)
    refused("only 26 training images for a batch of 27", batch_size=27)
    (tmp_path / "dog" / "3.png").write_bytes(b"no picture")
    refused("3.png is not an image")
    classes(tmp_path)
    whole = (tmp_path / "dog" / "3.png").read_bytes()
    (tmp_path / "dog" / "3.png").write_bytes(whole[: len(whole) // 2])
    refused("3.png is damaged")


def test_a_layout_that_is_half_there_is_said(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    with pytest.raises(InputError, match="neither test nor val"):
        manifest_of(tmp_path)
    classes(tmp_path / "test", 2)
    picture(tmp_path / "test" / "cow" / "0.png", 0)
    with pytest.raises(InputError, match="class cow that the training images do not have"):
        manifest_of(tmp_path)


def test_more_images_than_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path)
    with pytest.raises(InputError, match=r"GiB of memory but .* are free"):
        folder(tmp_path, batch_size=4, seed=0, size=10**7)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    classes(tmp_path, size=(8, 8), mode="L")
    wide = np.random.default_rng(0).integers(0, 65_536, (8, 8), dtype=np.uint16)
    Image.fromarray(wide).save(tmp_path / "cat" / "wide.png")
    found, manifest = folder(tmp_path, batch_size=4, seed=0), manifest_of(tmp_path)
    place = {path.name: (part, i) for part, pairs in manifest.splits.items() for i, (path, _) in enumerate(pairs)}
    part, index = place["wide.png"]
    image = getattr(found, part).images[index, 0].double().numpy()
    assert found.shape == (1, 8, 8)
    assert np.abs(image - wide / 257).max() <= 0.5
