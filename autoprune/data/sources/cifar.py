"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 60,000 colour 32 x 32 images of 10 or of 100 kinds of things.

The archive of the "binary version" is looked for in --data-dir and in the user's cache; else it is downloaded into
--data-dir, or into the cache. Nothing is unpacked onto the disk: members are read by their names, in memory. They hold
records of one length: the labels, a byte each, then 3,072 bytes of red, green and blue, each row by row.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from autoprune.data.base import DataSet, DataSource
from autoprune.data.batches import Augmentation
from autoprune.data.download import fetch, packed_sha256
from autoprune.data.images import Images, from_images
from autoprune.data.splits import split
from autoprune.errors import InputError
from autoprune.foundations.cache import cache_folder

__all__ = ["ARCHIVES", "CIFAR10", "CIFAR100", "Archive"]

MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
SIZES = {"search": 5000, "calibration": 512}  # the rest of the 50,000 is train; test are the official 10,000
PIXELS = 32
LARGEST_MEMBER = 256 * 2**20  # bytes; CIFAR-100's training images are 154 MB


@dataclass(frozen=True)
class Archive:
    """One published archive.

    Attributes:
        file: Its name.
        sha256: Of the file as published, packed; its published MD5 is `md5`.
        md5: What the publisher's page names.
        train: Members that hold the training images.
        test: Members that hold the test images.
        label_bytes: Labels in front of each image; the last of them is the finest, and is taken.
        classes: Their number.
    """

    file: str
    sha256: str
    md5: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_bytes: int
    classes: int


ARCHIVES = {
    "cifar10": Archive(
        "cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        "c32a1d4ab5d03f1284b67883e8d87530",
        tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6)),
        ("cifar-10-batches-bin/test_batch.bin",),
        1,
        10,
    ),
    "cifar100": Archive(
        "cifar-100-binary.tar.gz",
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        "03b5dce01913d631647c71ecec9e9cb8",
        ("cifar-100-binary/train.bin",),
        ("cifar-100-binary/test.bin",),
        2,
        100,
    ),
}


class CIFAR10(DataSource[Path]):
    """CIFAR-10, downloaded where it is nowhere on this machine."""

    name: ClassVar[str] = "cifar10"
    shape = (3, PIXELS, PIXELS)
    classes = 10

    @property
    def archive(self) -> Archive:
        """The published archive."""
        return ARCHIVES[self.name]

    def locate(self, data_dir: Path | None) -> Path:
        """The archive's path."""
        cache = cache_folder() / self.name
        for folder in (data_dir, None if data_dir is None else data_dir / self.name, cache):
            if folder is not None and (folder / self.archive.file).is_file():
                return folder / self.archive.file
        goal = (cache if data_dir is None else data_dir / self.name) / self.archive.file
        urls = [mirror + self.archive.file for mirror in MIRRORS]
        return fetch(urls, goal, self.archive.sha256, digest=packed_sha256)

    def verify(self, files: Path) -> None:
        """Refuse an archive with another checksum than the published one."""
        if packed_sha256(files) != self.archive.sha256:
            raise InputError(
                f"{files} is not the published archive (MD5 {self.archive.md5}), or is damaged; remove it to load it"
                " anew"
            )

    def splits(self, files: Path, *, batch_size: int, seed: int) -> DataSet:
        """44,488 images to learn from, 512 for calibration, 5,000 to score on and the official 10,000 to test."""
        archive = self.archive
        members = read_members(files, (*archive.train, *archive.test))
        learned = _images(files, archive, {member: members.pop(member) for member in archive.train})
        dealt = split(learned.labels.numpy(), SIZES, self.name)  # no seed here, see splits.py
        parts = {part: Images(learned.images[chosen], learned.labels[chosen]) for part, chosen in dealt.items()}
        parts["test"] = _images(files, archive, members)
        return from_images(
            self.name, parts, classes=archive.classes, augment=Augmentation(pad=4, flip=True),
            batch_size=batch_size, seed=seed, dense_epochs=60,
        )  # fmt: skip


class CIFAR100(CIFAR10):
    """CIFAR-100 with its 100 fine labels."""

    name: ClassVar[str] = "cifar100"
    classes = 100


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
    record = archive.label_bytes + 3 * PIXELS * PIXELS
    found = []
    for member, content in members.items():
        if not content or len(content) % record:
            raise InputError(f"{path}: {member} has {len(content)} bytes, not records of {record} bytes, an image each")
        found.append(np.frombuffer(content, np.uint8).reshape(-1, record))
        largest = int(found[-1][:, archive.label_bytes - 1].max())
        if largest >= archive.classes:
            raise InputError(f"{path}: {member}: a label is {largest}, not one of 0 to {archive.classes - 1}")
    records = torch.from_numpy(np.concatenate(found))
    images = records[:, archive.label_bytes :].reshape(-1, 3, PIXELS, PIXELS)
    return Images(images, records[:, archive.label_bytes - 1].long())
