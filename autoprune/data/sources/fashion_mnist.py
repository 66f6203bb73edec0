"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747): 70,000 grey 28 x 28 images of 10 kinds of clothing.

Its four files are looked for in --data-dir, in the system's folder, in the user's cache; else they are downloaded
into --data-dir, or into the cache. Checksums are of what the files hold when unpacked: distributions pack them anew,
so that the packed files differ from the publisher's while the images are the same.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autoprune.data.base import DataSet, DataSource
from autoprune.data.batches import Augmentation
from autoprune.data.download import fetch, unpacked
from autoprune.data.images import Images, from_images
from autoprune.data.splits import split
from autoprune.errors import InputError
from autoprune.foundations.cache import cache_folder

__all__ = ["FashionMNIST"]

SYSTEM_DIR = Path("/usr/share/datasets/fashion-mnist")
MIRRORS = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # speaks no https; the checksum guards it
)
SHA256 = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
SIZES = {"search": 5000, "calibration": 512}  # the rest of the 60,000 is train; test are the official 10,000


class FashionMNIST(DataSource[Path]):
    """Fashion-MNIST, downloaded where it is nowhere on this machine."""

    shape = (1, 28, 28)
    classes = 10

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self._content: dict[str, bytes] = {}  # of the files, unpacked: verified and read without unpacking them twice

    def locate(self, data_dir: Path | None) -> Path:
        """The folder that holds all four files."""
        cache = cache_folder() / "fashion-mnist"
        for folder in (data_dir, None if data_dir is None else data_dir / "fashion-mnist", SYSTEM_DIR, cache):
            if folder is not None and all((folder / name).is_file() for name in SHA256):
                return folder
        goal = cache if data_dir is None else data_dir / "fashion-mnist"
        for name, checksum in SHA256.items():
            fetch([mirror + name for mirror in MIRRORS], goal / name, checksum)
        return goal

    def verify(self, files: Path) -> None:
        """Refuse a file that holds something else than the published one."""
        for name, checksum in SHA256.items():
            self._content[name] = unpacked(files / name)
            if hashlib.sha256(self._content[name]).hexdigest() != checksum:
                raise InputError(
                    f"{files / name} is not Fashion-MNIST's file of that name, or is damaged; remove it to load it anew"
                )

    def splits(self, files: Path, *, batch_size: int, seed: int) -> DataSet:
        """54,488 images to learn from, 512 for calibration, 5,000 to score on and the official 10,000 to test."""
        learned = self._read(files, "train")
        # No seed here: the shipped weights were trained on this very train split (see splits.py).
        dealt = split(learned.labels.numpy(), SIZES, "fashion-mnist")
        parts = {name: Images(learned.images[chosen], learned.labels[chosen]) for name, chosen in dealt.items()}
        parts["test"] = self._read(files, "t10k")
        return from_images(
            "fashion-mnist", parts, classes=10, augment=Augmentation(pad=2, flip=True),
            batch_size=batch_size, seed=seed, dense_epochs=18,
        )  # fmt: skip

    def _read(self, folder: Path, stem: str) -> Images:
        """Byte images (N, 1, 28, 28) and labels (N,) of "train" or "t10k"."""
        images, labels = f"{stem}-images-idx3-ubyte.gz", f"{stem}-labels-idx1-ubyte.gz"
        return Images(
            read_idx(self._content.pop(images), folder / images, dimensions=3)[:, None],
            read_idx(self._content.pop(labels), folder / labels, dimensions=1),
        )


def read_idx(content: bytes, path: Path, *, dimensions: int) -> Tensor:
    """Reads IDX bytes (LeCun's format: 0, 0, type 8, rank, big-endian sizes, the values).

    Args:
        content: What the unpacked file holds.
        path: Where it lies, for the messages.
        dimensions: The rank it must have.

    Returns:
        Bytes, with as many dimensions as asked for.

    Raises:
        InputError: If the file is damaged or another one.
    """
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise InputError(f"{path} is not an IDX file of bytes with {dimensions} dimensions")
    sizes = struct.unpack(f">{dimensions}I", content[4:header])
    values = np.frombuffer(content, dtype=np.uint8, offset=header)
    if len(values) != int(np.prod(sizes)):
        raise InputError(f"{path} should hold {sizes} values but has {len(values)} bytes of them")
    return torch.from_numpy(values.reshape(sizes).copy())
