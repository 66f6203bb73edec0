"""CIFAR-10 and CIFAR-100: their archives, where they are looked for, and what is refused, on archives made here."""

import dataclasses
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from autoprune import data
from autoprune.data import _cifar
from autoprune.data._download import cache_dir
from autoprune.data._safe_pickle import read_pickle
from autoprune.errors import InputError


def python2_pickle(batch: dict) -> bytes:
    """A dictionary of text, lists of numbers and byte arrays, in the opcodes of Python 2's cPickle, protocol 2."""

    def text(value: str) -> bytes:
        raw = value.encode("latin-1")
        return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw

    def number(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"J" + struct.pack("<i", value)

    def array(values: np.ndarray) -> bytes:
        shape = b"(" + b"".join(map(number, values.shape)) + b"t"
        dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        raw = values.tobytes()
        content = b"T" + struct.pack("<i", len(raw)) + raw
        start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        return start + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"

    def any_of(value: object) -> bytes:
        if isinstance(value, np.ndarray):
            return array(value)
        if isinstance(value, list):
            return b"](" + b"".join(map(any_of, value)) + b"e"
        return text(value) if isinstance(value, str) else number(value)

    entries = b"".join(text(key) + any_of(value) for key, value in batch.items())
    return b"\x80\x02}(" + entries + b"u."


def images_of(count: int, first: int) -> np.ndarray:
    """Images that all differ: their number stands in red's first two pixels."""
    values = np.zeros((count, 3, 32, 32), dtype=np.uint8)
    numbers = np.arange(first, first + count)
    values[:, 0, 0, 0], values[:, 0, 0, 1] = numbers % 256, numbers // 256
    values[:, 1, 2, 3], values[:, 2, 31, 31] = 7 + numbers % 2, 90 + numbers % 3
    return values.reshape(count, -1)


def batches_of(name: str) -> dict[str, dict]:
    """The members of a small CIFAR: 60 training images a member of CIFAR-10, 300 of CIFAR-100, 50 test images."""
    published = _cifar.ARCHIVES[name]
    found, first = {}, 0
    for member in (*published.train, *published.test):
        count = 50 if member in published.test else 300 // len(published.train)
        labels = [number % published.classes for number in range(first, first + count)]
        found[member] = {"batch_label": "a batch", published.labels: labels, "data": images_of(count, first)}
        found[member]["filenames"] = [f"thing_{number}.png" for number in range(count)]
        if name == "cifar100":
            found[member]["coarse_labels"] = [label // 5 for label in labels]
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
    monkeypatch.setattr(_cifar, "SIZES", {"search": 100, "calibration": 20})
    monkeypatch.setattr(_cifar, "MIRRORS", ())
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "cache"))

    def write(name: str, content: bytes | None = None, folder: Path | None = None) -> Path:
        if content is None:
            content = packed({member: python2_pickle(batch) for member, batch in batches_of(name).items()})
        archive = dataclasses.replace(_cifar.ARCHIVES[name], sha256=hashlib.sha256(content).hexdigest())
        monkeypatch.setitem(_cifar.ARCHIVES, name, archive)
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
    assert {name: (a.sha256[:8], a.md5[:8], a.classes) for name, a in _cifar.ARCHIVES.items()} == {
        "cifar10": ("6d958be0", "c58f3010", 10),
        "cifar100": ("85cd44d0", "eb9058c3", 100),
    }
    assert dict(_cifar.SIZES) == {"search": 5000, "calibration": 512}


def test_training_images_are_cropped_out_of_a_border_of_four_and_mirrored(put):
    found = data.load("cifar10", put("cifar10"), batch_size=180)
    assert (found.train.augment.pad, found.train.augment.flip) == (4, True)
    assert found.search.augment is None
    assert found.dense_epochs == 60
    (images, _), *_ = found.train
    assert images.shape == (180, 3, 32, 32)


def test_it_is_downloaded_once_and_found_again(put, tmp_path, monkeypatch):
    folder = put("cifar100")
    monkeypatch.setattr(_cifar, "MIRRORS", ((tmp_path / "nowhere").as_uri() + "/", folder.as_uri() + "/"))
    assert data.load("cifar100", tmp_path / "mine").counts["test"] == 50
    assert [path.name for path in (tmp_path / "mine" / "cifar100").iterdir()] == ["cifar-100-python.tar.gz"]
    monkeypatch.setattr(_cifar, "MIRRORS", ())
    assert data.load("cifar100", tmp_path / "mine").counts["test"] == 50


def test_without_a_folder_the_cache_is_used(put, monkeypatch):
    folder = put("cifar10")
    monkeypatch.setattr(_cifar, "MIRRORS", (folder.as_uri() + "/",))
    assert data.load("cifar10").counts["train"] == 180
    assert (cache_dir() / "cifar10" / "cifar-10-python.tar.gz").is_file()


@pytest.mark.parametrize("damage", ["another file", "truncated"])
def test_a_file_with_another_checksum_is_refused_and_left_alone(put, damage):
    path = put("cifar10") / "cifar-10-python.tar.gz"
    content = path.read_bytes()[:-100] if damage == "truncated" else b"<html>not found</html>"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz is not the published archive \(MD5 c58f.*damaged"):
        data.load("cifar10", path.parent)
    assert path.read_bytes() == content


def test_a_download_with_another_checksum_leaves_nothing(put, tmp_path, monkeypatch):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "cifar-10-python.tar.gz").write_bytes(b"<html>not found</html>")
    monkeypatch.setattr(_cifar, "MIRRORS", ((tmp_path / "page").as_uri() + "/",))
    with pytest.raises(InputError, match=r"another checksum.*\n.*--data-dir") as caught:
        data.load("cifar10", tmp_path / "mine")
    assert len(str(caught.value).splitlines()) == 2
    assert list((tmp_path / "mine" / "cifar10").iterdir()) == []


def test_a_truncated_archive_is_refused_even_with_the_right_checksum(put):
    whole = packed({member: python2_pickle(batch) for member, batch in batches_of("cifar10").items()})
    for length in (0, 10, len(whole) // 2, len(whole) - 20):
        with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz"):
            data.load("cifar10", put("cifar10", whole[:length]))


class Harm:
    """What runs when it is unpickled by pickle.load."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(put, tmp_path, protocol):
    mark = tmp_path / "harmed"
    harmful = pickle.dumps({"data": Harm(mark), "labels": [1]}, protocol)
    pickle.loads(harmful)
    assert mark.exists()  # it would, indeed
    mark.unlink()
    members = {member: python2_pickle(batch) for member, batch in batches_of("cifar10").items()}
    members["cifar-10-batches-py/data_batch_3"] = harmful
    with pytest.raises(InputError, match=r"data_batch_3 names (pathlib|__builtin__)\..* could run code"):
        data.load("cifar10", put("cifar10", packed(members)))
    assert not mark.exists()


@pytest.mark.parametrize(
    "call",
    [
        "os\nsystem",
        "builtins\neval",
        "builtins\ngetattr",
        "numpy\nload",
        "numpy.core.multiarray\nscalar",
        "copyreg\n_reconstructor",
    ],
)
def test_only_the_names_that_numpy_arrays_need_are_known(call):
    with pytest.raises(InputError, match="could run code"):
        read_pickle(f"c{call}\n.".encode(), "x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02}",
        b"not a pickle",
        b"\x80\x02cnumpy\nndarray\n}b.",  # a state for the class itself
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x02K\x03tb.",
        pickle.dumps({"data": np.zeros((2, 3072), dtype=np.float32)}, 2),
        pickle.dumps({"data": np.zeros(3, dtype=object)}, 2),
        b"\x80\x02}U\x01aPsomewhere\ns.",
        b"\x80\x02K\x01r\xff\xff\xff\xff.",  # a memo of four thousand million entries
    ],
)
def test_damaged_pickles_are_refused(content):
    with pytest.raises(InputError, match=r"batch (is damaged|names)") as caught:
        read_pickle(content, "batch")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_python_3_and_numpy_write_is_read_too(order):
    values = np.asfortranarray(images_of(4, 0)) if order == "F" else images_of(4, 0)
    found = read_pickle(pickle.dumps({b"data": values, b"labels": [1, 2, 3, 4]}, 3), "batch")
    assert np.array_equal(found[b"data"], images_of(4, 0))
    assert found[b"labels"] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"data": None}, "rows of 3072 bytes"),
        ({"data": np.zeros((60, 784), dtype=np.uint8)}, "rows of 3072 bytes"),
        ({"labels": [1] * 59}, "a list of 60 labels"),
        ({"labels": "many"}, "a list of 60 labels"),
        ({"labels": [1] * 59 + [10]}, "a label is 10, not one of 0 to 9"),
        ({"labels": [1] * 59 + ["cat"]}, r"a label is b'cat', not one of 0 to 9"),
    ],
)
def test_batches_of_other_content_are_refused(put, change, text):
    batches = batches_of("cifar10")
    batch = batches["cifar-10-batches-py/data_batch_2"]
    batch |= {key: value if value is not None else "pixels" for key, value in change.items()}
    folder = put("cifar10", packed({member: python2_pickle(batch) for member, batch in batches.items()}))
    with pytest.raises(InputError, match=rf"data_batch_2.*{text}"):
        data.load("cifar10", folder)


def test_a_missing_member_a_link_and_a_path_out_of_the_archive(put, tmp_path):
    members = {member: python2_pickle(batch) for member, batch in batches_of("cifar10").items()}
    content = members.pop("cifar-10-batches-py/test_batch")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, held in {**members, "../../escaped": b"out", "/tmp/escaped": b"out"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(held)
            archive.addfile(info, io.BytesIO(held))
        link = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(link)
    (tmp_path / "secret").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    folder = put("cifar10", stream.getvalue())
    with pytest.raises(InputError, match="holds no file cifar-10-batches-py/test_batch"):
        data.load("cifar10", folder)
    assert sorted(set(tmp_path.rglob("*")) - set(before)) == [folder, folder / "cifar-10-python.tar.gz"]
    assert not (tmp_path.parent / "escaped").exists()


def test_a_near_name_is_named(put):
    with pytest.raises(InputError, match="nearest name is cifar100"):
        data.load("cifar-100")
