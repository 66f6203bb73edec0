"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 60,000 colour 32 x 32 images of 10 or of 100 kinds of things.

The archive of the "python version" is looked for in --data-dir and in the user's cache; else it is downloaded into
--data-dir, or into the cache. Nothing is unpacked onto the disk: members are read by their names, in memory, and their
pickles by a reader that runs nothing (`_tame_pickle`).
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autoprune.data._build import Images, from_images
from autoprune.data._download import cache_dir, fetch, packed_sha256
from autoprune.data._safe_pickle import read_pickle
from autoprune.data.base import Augmentation, DataSet
from autoprune.data.splits import split
from autoprune.errors import InputError

__all__ = ["ARCHIVES", "Archive", "cifar"]

MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
SIZES = {"search": 5000, "calibration": 512}  # the rest of the 50,000 is train; test are the official 10,000
PIXELS = 32
LARGEST_MEMBER = 256 * 2**20  # bytes; CIFAR-100's training images are 155 MB


@dataclass(frozen=True)
class Archive:
    """One published archive.

    Attributes:
        file: Its name.
        sha256: Of the file as published, packed; its published MD5 is `md5`.
        md5: What the publisher's page names.
        train: Members that hold the training images.
        test: Members that hold the test images.
        labels: The key of the labels in a member.
        classes: Their number.
    """

    file: str
    sha256: str
    md5: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: str
    classes: int


ARCHIVES = {
    "cifar10": Archive(
        "cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        "c58f30108f718f92721af3b95e74349a",
        tuple(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
        ("cifar-10-batches-py/test_batch",),
        "labels",
        10,
    ),
    "cifar100": Archive(
        "cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        "eb9058c3a382ffc7106e4002c42a8d85",
        ("cifar-100-python/train",),
        ("cifar-100-python/test",),
        "fine_labels",
        100,
    ),
}


def cifar(name: str, data_dir: Path | None, *, batch_size: int, seed: int) -> DataSet:
    """Loads CIFAR-10 or CIFAR-100, downloading it where it is nowhere on this machine.

    Args:
        name: A key of `ARCHIVES`.
        data_dir: Where the archive is, or goes.
        batch_size: Images a training batch.
        seed: Of order and augmentation; not of the splits.

    Raises:
        InputError: If the archive is not the published one, is damaged, or cannot be downloaded.
    """
    archive = ARCHIVES[name]
    path = _locate(name, archive, data_dir)
    if packed_sha256(path) != archive.sha256:
        raise InputError(
            f"{path} is not the published archive (MD5 {archive.md5}), or is damaged; remove it to load it anew"
        )
    members = read_members(path, (*archive.train, *archive.test))
    learned = _images(path, archive, {member: members.pop(member) for member in archive.train})
    dealt = split(learned.labels.numpy(), SIZES, name)  # no seed here, see splits.py
    parts = {part: Images(learned.images[chosen], learned.labels[chosen]) for part, chosen in dealt.items()}
    parts["test"] = _images(path, archive, members)
    return from_images(
        name, parts, classes=archive.classes, augment=Augmentation(pad=4, flip=True),
        batch_size=batch_size, seed=seed, dense_epochs=60,
    )  # fmt: skip


def _locate(name: str, archive: Archive, data_dir: Path | None) -> Path:
    """The archive's path, after a download where there is none."""
    cache = cache_dir() / name
    for folder in (data_dir, None if data_dir is None else data_dir / name, cache):
        if folder is not None and (folder / archive.file).is_file():
            return folder / archive.file
    goal = (cache if data_dir is None else data_dir / name) / archive.file
    return fetch([mirror + archive.file for mirror in MIRRORS], goal, archive.sha256, digest=packed_sha256)


def read_members(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """What members of a gzipped tar hold, by name, in the order asked for; nothing is written anywhere.

    Raises:
        InputError: If the archive is damaged, lacks a member, or has something else than a file of fair size there.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.name in names and member.isreg() and member.size <= LARGEST_MEMBER:
                    stream = archive.extractfile(member)
                    found[member.name] = stream.read() if stream is not None else b""
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    missing = next((name for name in names if name not in found), None)
    if missing is not None:
        raise InputError(f"{path} holds no file {missing}; it is another archive, or is damaged")
    return {name: found[name] for name in names}


def _images(path: Path, archive: Archive, members: Mapping[str, bytes]) -> Images:
    """Byte images (N, 3, 32, 32) and labels (N,) of some members."""
    pixels, labels = [], []
    for member, content in members.items():
        where = f"{path}: {member}"
        batch = read_pickle(content, where)
        pixels.append(_pixels(batch, where))
        labels.append(_labels(batch, archive, len(pixels[-1]), where))
    images = torch.from_numpy(np.concatenate(pixels).reshape(-1, 3, PIXELS, PIXELS))
    return Images(images, torch.from_numpy(np.concatenate(labels)))


def _entry(batch: Any, key: str, where: str) -> Any:
    # Python 2 wrote the keys; they are read as bytes.
    if not isinstance(batch, dict) or not {key, key.encode()} & batch.keys():
        raise InputError(f"{where} has no {key!r}; it is no batch of CIFAR images")
    return batch[key.encode()] if key.encode() in batch else batch[key]


def _pixels(batch: Any, where: str) -> NDArray[np.uint8]:
    """Rows of 3,072 bytes: red, green, blue, each row by row."""
    data = _entry(batch, "data", where)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3 * PIXELS * PIXELS:
        raise InputError(f"{where}: 'data' should be rows of {3 * PIXELS * PIXELS} bytes, an image each")
    return data


def _labels(batch: Any, archive: Archive, count: int, where: str) -> NDArray[np.int64]:
    labels = _entry(batch, archive.labels, where)
    if not isinstance(labels, list) or len(labels) != count:
        raise InputError(f"{where}: {archive.labels!r} should be a list of {count} labels, one an image")
    wrong = next((x for x in labels if type(x) is not int or not 0 <= x < archive.classes), None)
    if wrong is not None:
        raise InputError(f"{where}: a label is {wrong!r:.40}, not one of 0 to {archive.classes - 1}")
    return np.array(labels, dtype=np.int64)
