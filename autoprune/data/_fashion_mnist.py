"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747): 70,000 grey 28 x 28 images of 10 kinds of clothing.

Its four files are looked for in --data-dir, in the system's folder, in the user's cache; else they are downloaded
into --data-dir, or into the cache. Files from --data-dir and from downloads must have the published checksums.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autoprune.data._build import Images, from_images
from autoprune.data._download import cache_dir, fetch, sha256_of
from autoprune.data.base import Augmentation, DataSet
from autoprune.data.splits import split
from autoprune.errors import InputError

__all__ = ["fashion_mnist"]

SYSTEM_DIR = Path("/usr/share/datasets/fashion-mnist")
MIRRORS = (
    "https://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
SHA256 = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
SIZES = {"search": 5000, "calibration": 512}  # the rest of the 60,000 is train; test are the official 10,000


def fashion_mnist(data_dir: Path | None, *, batch_size: int, seed: int) -> DataSet:
    """Loads Fashion-MNIST, downloading it where it is nowhere on this machine.

    Raises:
        InputError: If a file is damaged, or cannot be downloaded.
    """
    folder = _locate(data_dir)
    images = read_idx(folder / "train-images-idx3-ubyte.gz", dimensions=3)[:, None]
    labels = read_idx(folder / "train-labels-idx1-ubyte.gz", dimensions=1)
    # No seed here: the shipped weights were trained on this very train split (see splits.py).
    parts = {
        name: Images(images[chosen], labels[chosen])
        for name, chosen in split(labels.numpy(), SIZES, "fashion-mnist").items()
    }
    parts["test"] = Images(
        read_idx(folder / "t10k-images-idx3-ubyte.gz", dimensions=3)[:, None],
        read_idx(folder / "t10k-labels-idx1-ubyte.gz", dimensions=1),
    )
    return from_images(
        "fashion-mnist", parts, classes=10, augment=Augmentation(pad=2, flip=True),
        batch_size=batch_size, seed=seed, dense_epochs=30,
    )  # fmt: skip


def _locate(data_dir: Path | None) -> Path:
    """The folder that holds all four files, after a download where there is none."""
    cache = cache_dir() / "fashion-mnist"
    for folder in (data_dir, None if data_dir is None else data_dir / "fashion-mnist", SYSTEM_DIR, cache):
        if folder is not None and all((folder / name).is_file() for name in SHA256):
            return _verified(folder)
    goal = cache if data_dir is None else data_dir / "fashion-mnist"
    for name, checksum in SHA256.items():
        fetch([mirror + name for mirror in MIRRORS], goal / name, checksum)
    return goal


def _verified(folder: Path) -> Path:
    for name, checksum in SHA256.items():
        if sha256_of(folder / name) != checksum:
            raise InputError(
                f"{folder / name} is not Fashion-MNIST's file of that name, or it is damaged; remove it to load it anew"
            )
    return folder


def read_idx(path: Path, *, dimensions: int) -> Tensor:
    """Reads a gzipped IDX file of bytes (LeCun's format: 0, 0, type 8, rank, big-endian sizes, the values).

    Args:
        path: The file.
        dimensions: The rank it must have.

    Returns:
        Bytes, with as many dimensions as asked for.

    Raises:
        InputError: If the file is damaged or of another kind.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise InputError(f"{path} is not an IDX file of bytes with {dimensions} dimensions")
    sizes = struct.unpack(f">{dimensions}I", content[4:header])
    values = np.frombuffer(content, dtype=np.uint8, offset=header)
    if len(values) != int(np.prod(sizes)):
        raise InputError(f"{path} should hold {sizes} values but has {len(values)} bytes of them")
    return torch.from_numpy(values.reshape(sizes).copy())
