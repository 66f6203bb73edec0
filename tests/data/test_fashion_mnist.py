"""Fashion-MNIST: its format, the places it is looked for in, and its download, on files made here."""

import gzip
import hashlib
import struct
from pathlib import Path

import pytest
import torch

from autoprune import data
from autoprune.data.download import fetch, unpacked
from autoprune.data.sources import fashion_mnist as fashion
from autoprune.errors import InputError
from autoprune.foundations.cache import cache_folder


def idx(values: torch.Tensor) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(header + values.numpy().tobytes())


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a Fashion-MNIST of 300 + 50 images that all differ, its checksums, no other place to look in."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for stem, count, first in (("train", 300, 0), ("t10k", 50, 300)):
        images = torch.zeros(count, 28, 28, dtype=torch.uint8)
        images[:, 0, 0], images[:, 0, 1] = torch.arange(count) % 256, (torch.arange(count) + first) // 256
        images[:, 1, 0] = 1 + (stem == "t10k")
        labels = (torch.arange(count) % 10).to(torch.uint8)
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    sums = {name: hashlib.sha256(gzip.decompress((folder / name).read_bytes())).hexdigest() for name in fashion.SHA256}
    monkeypatch.setattr(fashion, "SHA256", sums)
    monkeypatch.setattr(fashion, "SYSTEM_DIR", tmp_path / "system")
    monkeypatch.setattr(fashion, "SIZES", {"search": 40, "calibration": 20})
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "cache"))
    return folder


def test_four_disjoint_splits_whatever_the_seed(archive: Path) -> None:
    first, other = (data.load("fashion-mnist", archive, batch_size=32, seed=seed) for seed in (0, 9))
    assert dict(first.counts) == {"search": 40, "calibration": 20, "train": 240, "test": 50}
    for part in ("train", "calibration", "search", "test"):
        assert torch.equal(getattr(first, part).images, getattr(other, part).images)
    every = [
        image.numpy().tobytes()
        for part in ("train", "calibration", "search", "test")
        for image in getattr(first, part).images
    ]
    assert len(set(every)) == len(every) == 350
    assert torch.bincount(first.search.labels).tolist() == [4] * 10
    assert first.shape == (1, 28, 28)


def test_the_shipped_split_is_pinned() -> None:
    # The first search images of the real set, by number: weights that ship must never have seen them.
    labels = [index % 10 for index in range(60_000)]
    chosen = module_split(labels)
    assert [len(chosen[name]) for name in ("search", "calibration", "train")] == [5000, 512, 54_488]
    expected = sorted(range(0, 60_000, 10), key=lambda i: hashlib.sha256(f"fashion-mnist/{i}".encode()).digest())
    assert [index for index in chosen["search"] if index % 10 == 0] == expected[:500]


def module_split(labels: list[int]) -> dict:
    return fashion.split(labels, {"search": 5000, "calibration": 512}, "fashion-mnist")


def test_it_is_downloaded_once_and_found_again(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion, "MIRRORS", ((tmp_path / "nowhere").as_uri() + "/", archive.as_uri() + "/"))
    found = data.load("fashion-mnist", tmp_path / "mine", batch_size=32)
    assert found.counts["test"] == 50
    assert sorted(path.name for path in (tmp_path / "mine" / "fashion-mnist").iterdir()) == sorted(fashion.SHA256)
    monkeypatch.setattr(fashion, "MIRRORS", ())
    assert data.load("fashion-mnist", tmp_path / "mine", batch_size=32).counts == found.counts


def test_without_a_folder_the_download_goes_to_the_cache(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion, "MIRRORS", (archive.as_uri() + "/",))
    assert data.load("fashion-mnist", batch_size=32).counts["test"] == 50
    assert (cache_folder() / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").is_file()


def test_a_download_of_other_content_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "wrong").write_bytes(gzip.compress(b"not it"))
    (tmp_path / "page").write_bytes(b"<html>not found</html>")
    goal = tmp_path / "in" / "file"
    with pytest.raises(InputError, match=r"another checksum.*no gzipped file.*\n.*--data-dir"):
        fetch(
            [(tmp_path / "wrong").as_uri(), (tmp_path / "page").as_uri(), (tmp_path / "absent").as_uri()],
            goal,
            "0" * 64,
        )
    assert list(goal.parent.iterdir()) == []


def test_an_unreachable_network_is_told_in_two_lines(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion, "MIRRORS", ("http://127.0.0.1:9/",))  # nobody listens on the discard port
    with pytest.raises(InputError, match="could not be downloaded") as caught:
        data.load("fashion-mnist", tmp_path / "mine", batch_size=32)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_damaged_file_is_named(archive: Path) -> None:
    damaged = archive / "t10k-images-idx3-ubyte.gz"
    whole = gzip.decompress(damaged.read_bytes())
    damaged.write_bytes(gzip.compress(whole[:-1] + b"?"))
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte.gz is .* damaged"):
        data.load("fashion-mnist", archive, batch_size=32)


@pytest.mark.parametrize(
    "content",
    [
        b"plain",
        gzip.compress(b"\0\0\x0d\1\0\0\0\1\0"),
        gzip.compress(b"\0\0\x08\1\0\0\0\3\0"),
        idx(torch.zeros(9, dtype=torch.uint8))[:-6],
    ],
    ids=["not gzip", "floats", "too short", "torn"],
)
def test_other_formats_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"file\.gz"):
        fashion.read_idx(unpacked(tmp_path / "file.gz"), tmp_path / "file.gz", dimensions=1)


def test_idx_reads_what_was_written(tmp_path: Path) -> None:
    values = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (tmp_path / "file.gz").write_bytes(idx(values))
    assert torch.equal(fashion.read_idx(unpacked(tmp_path / "file.gz"), tmp_path / "file.gz", dimensions=3), values)


def test_files_that_were_packed_anew_are_the_same(archive: Path) -> None:
    path = archive / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=12345))
    assert data.load("fashion-mnist", archive, batch_size=32).counts["train"] == 240


@pytest.mark.skipif(not fashion.SYSTEM_DIR.is_dir(), reason="Fashion-MNIST is not installed on this machine")
def test_the_real_files_have_the_checksums() -> None:
    found = data.load("fashion-mnist", batch_size=128)
    assert dict(found.counts) == {"search": 5000, "calibration": 512, "train": 54_488, "test": 10_000}
    assert torch.bincount(found.search.labels).tolist() == [500] * 10
    assert found.normalisation.mean[0] == pytest.approx(0.286, abs=0.001)
