"""CIFAR-10 and CIFAR-100: their archives, where they are looked for, and what is refused, on archives made here."""

import dataclasses
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from autoprune import data
from autoprune.data.sources import cifar
from autoprune.errors import InputError
from autoprune.foundations.cache import cache_folder


def images_of(count: int, first: int) -> np.ndarray:
    """Images that all differ: their number stands in red's first two pixels."""
    values = np.zeros((count, 3, 32, 32), dtype=np.uint8)
    numbers = np.arange(first, first + count)
    values[:, 0, 0, 0], values[:, 0, 0, 1] = numbers % 256, numbers // 256
    values[:, 1, 2, 3], values[:, 2, 31, 31] = 7 + numbers % 2, 90 + numbers % 3
    return values.reshape(count, -1)


def members_of(name: str) -> dict[str, bytes]:
    """The members of a small CIFAR: 60 training images a member of CIFAR-10, 300 of CIFAR-100, 50 test images."""
    published = cifar.ARCHIVES[name]
    found, first = {}, 0
    for member in (*published.train, *published.test):
        count = 50 if member in published.test else 300 // len(published.train)
        fine = np.arange(first, first + count) % published.classes
        labels = fine[:, None] if name == "cifar10" else np.stack([fine // 5, fine], axis=1)  # coarse ones come first
        found[member] = np.concatenate([labels.astype(np.uint8), images_of(count, first)], axis=1).tobytes()
        first += count
    return found


def packed(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Writes an archive into a folder and makes its checksum the published one; no other place to look in."""
    monkeypatch.setattr(cifar, "SIZES", {"search": 100, "calibration": 20})
    monkeypatch.setattr(cifar, "MIRRORS", ())
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "cache"))

    def write(name: str, content: bytes | None = None, folder: Path | None = None) -> Path:
        if content is None:
            content = packed(members_of(name))
        archive = dataclasses.replace(cifar.ARCHIVES[name], sha256=hashlib.sha256(content).hexdigest())
        monkeypatch.setitem(cifar.ARCHIVES, name, archive)
        path = (folder or tmp_path / "archive") / archive.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path.parent

    return write


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_four_disjoint_splits_whatever_the_seed(put, name, classes):
    folder = put(name)
    first, other = (data.load(name, folder, batch_size=32, seed=seed) for seed in (0, 9))
    assert dict(first.counts) == {"search": 100, "calibration": 20, "train": 180, "test": 50}
    assert (first.classes, first.shape, first.name) == (classes, (3, 32, 32), name)
    numbers = []
    for part in ("train", "calibration", "search", "test"):
        batches, again = getattr(first, part), getattr(other, part)
        assert torch.equal(batches.images, again.images) and torch.equal(batches.labels, again.labels)
        stamped = (batches.images[:, 0, 0, 0].int() + 256 * batches.images[:, 0, 0, 1].int()).tolist()
        assert batches.labels.tolist() == [number % classes for number in stamped]  # each image kept its label
        for image, number in zip(batches.images, stamped, strict=True):
            assert image.numpy().tobytes() == images_of(1, number).tobytes()
        numbers += stamped
    assert sorted(numbers) == list(range(350))
    assert min(first.test.images[:, 0, 0, 1].int() * 256 + first.test.images[:, 0, 0, 0].int()) == 300


def test_published_archives_are_pinned():
    # SHA-256 and MD5 of one file each, as published; who changes one of them changes what users' weights have seen.
    assert {name: (a.sha256[:8], a.md5[:8], a.classes) for name, a in cifar.ARCHIVES.items()} == {
        "cifar10": ("c4a38c50", "c32a1d4a", 10),
        "cifar100": ("58a81ae1", "03b5dce0", 100),
    }
    assert dict(cifar.SIZES) == {"search": 5000, "calibration": 512}


def test_training_images_are_cropped_out_of_a_border_of_four_and_mirrored(put):
    found = data.load("cifar10", put("cifar10"), batch_size=180)
    assert (found.train.augment.pad, found.train.augment.flip) == (4, True)
    assert found.search.augment is None
    assert found.dense_epochs == 60
    (images, _), *_ = found.train
    assert images.shape == (180, 3, 32, 32)


def test_it_is_downloaded_once_and_found_again(put, tmp_path, monkeypatch):
    folder = put("cifar100")
    monkeypatch.setattr(cifar, "MIRRORS", ((tmp_path / "nowhere").as_uri() + "/", folder.as_uri() + "/"))
    assert data.load("cifar100", tmp_path / "mine").counts["test"] == 50
    assert [path.name for path in (tmp_path / "mine" / "cifar100").iterdir()] == ["cifar-100-binary.tar.gz"]
    monkeypatch.setattr(cifar, "MIRRORS", ())
    assert data.load("cifar100", tmp_path / "mine").counts["test"] == 50


def test_without_a_folder_the_cache_is_used(put, monkeypatch):
    folder = put("cifar10")
    monkeypatch.setattr(cifar, "MIRRORS", (folder.as_uri() + "/",))
    assert data.load("cifar10").counts["train"] == 180
    assert (cache_folder() / "cifar10" / "cifar-10-binary.tar.gz").is_file()


@pytest.mark.parametrize("damage", ["another file", "truncated"])
def test_a_file_with_another_checksum_is_refused_and_left_alone(put, damage):
    path = put("cifar10") / "cifar-10-binary.tar.gz"
    content = path.read_bytes()[:-100] if damage == "truncated" else b"<html>not found</html>"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cifar-10-binary\.tar\.gz is not the published archive \(MD5 c32a.*damaged"):
        data.load("cifar10", path.parent)
    assert path.read_bytes() == content


def test_a_download_with_another_checksum_leaves_nothing(put, tmp_path, monkeypatch):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "cifar-10-binary.tar.gz").write_bytes(b"<html>not found</html>")
    monkeypatch.setattr(cifar, "MIRRORS", ((tmp_path / "page").as_uri() + "/",))
    with pytest.raises(InputError, match=r"another checksum.*\n.*--data-dir") as caught:
        data.load("cifar10", tmp_path / "mine")
    assert len(str(caught.value).splitlines()) == 2
    assert list((tmp_path / "mine" / "cifar10").iterdir()) == []


def test_a_truncated_archive_is_refused_even_with_the_right_checksum(put):
    whole = packed(members_of("cifar10"))
    for length in (0, 10, len(whole) // 2, len(whole) - 20):
        with pytest.raises(InputError, match=r"cifar-10-binary\.tar\.gz"):
            data.load("cifar10", put("cifar10", whole[:length]))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "has 0 bytes, not records of 3073 bytes"),
        (bytes(3073 * 2 - 1), "has 6145 bytes, not records of 3073 bytes"),
        (bytes(3073) + b"\x0a" + bytes(3072), "a label is 10, not one of 0 to 9"),
    ],
)
def test_members_of_other_content_are_refused(put, content, text):
    members = members_of("cifar10") | {"cifar-10-batches-bin/data_batch_2.bin": content}
    with pytest.raises(InputError, match=rf"data_batch_2\.bin.*{text}") as caught:
        data.load("cifar10", put("cifar10", packed(members)))
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_member_a_link_and_a_path_out_of_the_archive(put, tmp_path):
    members = members_of("cifar10")
    content = members.pop("cifar-10-batches-bin/test_batch.bin")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, held in {**members, "../../escaped": b"out", "/tmp/escaped": b"out"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(held)
            archive.addfile(info, io.BytesIO(held))
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(link)
    (tmp_path / "secret").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    folder = put("cifar10", stream.getvalue())
    with pytest.raises(InputError, match=r"holds no file cifar-10-batches-bin/test_batch\.bin"):
        data.load("cifar10", folder)
    assert sorted(set(tmp_path.rglob("*")) - set(before)) == [folder, folder / "cifar-10-binary.tar.gz"]
    assert not (tmp_path.parent / "escaped").exists()


def test_a_near_name_is_named(put):
    with pytest.raises(InputError, match="nearest name is cifar100"):
        data.load("cifar-100")
