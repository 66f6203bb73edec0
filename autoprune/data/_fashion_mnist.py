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

from autoprune.data._build import Images, from_images
from autoprune.data._download import cache_dir, fetch, unpacked
from autoprune.data.base import Augmentation, DataSet
from autoprune.data.splits import split
from autoprune.errors import InputError

__all__ = ["fashion_mnist"]

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


def fashion_mnist(data_dir: Path | None, *, batch_size: int, seed: int) -> DataSet:
    """Loads Fashion-MNIST, downloading it where it is nowhere on this machine.

    Raises:
        InputError: If a file is damaged, or cannot be downloaded.
    """
    folder = _locate(data_dir)
    learned = _read(folder, "train")
    # No seed here: the shipped weights were trained on this very train split (see splits.py).
    dealt = split(learned.labels.numpy(), SIZES, "fashion-mnist")
    parts = {name: Images(learned.images[chosen], learned.labels[chosen]) for name, chosen in dealt.items()}
    parts["test"] = _read(folder, "t10k")
    return from_images(
        "fashion-mnist", parts, classes=10, augment=Augmentation(pad=2, flip=True),
        batch_size=batch_size, seed=seed, dense_epochs=18,
    )  # fmt: skip


def _locate(data_dir: Path | None) -> Path:
    """The folder that holds all four files, after a download where there is none."""
    cache = cache_dir() / "fashion-mnist"
    for folder in (data_dir, None if data_dir is None else data_dir / "fashion-mnist", SYSTEM_DIR, cache):
        if folder is not None and all((folder / name).is_file() for name in SHA256):
            return folder
    goal = cache if data_dir is None else data_dir / "fashion-mnist"
    for name, checksum in SHA256.items():
        fetch([mirror + name for mirror in MIRRORS], goal / name, checksum)
    return goal


def _read(folder: Path, stem: str) -> Images:
    """Byte images (N, 1, 28, 28) and labels (N,) of "train" or "t10k", checked."""
    images, labels = f"{stem}-images-idx3-ubyte.gz", f"{stem}-labels-idx1-ubyte.gz"
    return Images(
        read_idx(folder / images, dimensions=3, checksum=SHA256[images])[:, None],
        read_idx(folder / labels, dimensions=1, checksum=SHA256[labels]),
    )


def read_idx(path: Path, *, dimensions: int, checksum: str | None = None) -> Tensor:
    """Reads a gzipped IDX file of bytes (LeCun's format: 0, 0, type 8, rank, big-endian sizes, the values).

    Args:
        path: The file.
        dimensions: The rank it must have.
        checksum: SHA-256 of the unpacked file, in hexadecimal; None takes any.

    Returns:
        Bytes, with as many dimensions as asked for.

    Raises:
        InputError: If the file is damaged or another one.
    """
    content = unpacked(path)
    if checksum is not None and hashlib.sha256(content).hexdigest() != checksum:
        raise InputError(f"{path} is not Fashion-MNIST's file of that name, or is damaged; remove it to load it anew")
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise InputError(f"{path} is not an IDX file of bytes with {dimensions} dimensions")
    sizes = struct.unpack(f">{dimensions}I", content[4:header])
    values = np.frombuffer(content, dtype=np.uint8, offset=header)
    if len(values) != int(np.prod(sizes)):
        raise InputError(f"{path} should hold {sizes} values but has {len(values)} bytes of them")
    return torch.from_numpy(values.reshape(sizes).copy())
