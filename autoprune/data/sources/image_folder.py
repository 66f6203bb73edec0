"""A folder of images, a folder a class.

    DIR/train/CLASS/*.png and DIR/test/CLASS/*.png      the user's own test split; or DIR/val in place of DIR/test
    DIR/train, DIR/val and DIR/test                     val is the search split
    DIR/CLASS/*.png                                     all splits are taken from these

What is not given is taken out of the training images by a hash of the files' names, class by class: no seed moves an
image to another split, and neither does the place of the folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from PIL import Image, ImageOps
from torch import Tensor

from autoprune.data.base import DataSet, DataSource
from autoprune.data.batches import Augmentation
from autoprune.data.images import Images, from_images
from autoprune.data.splits import split
from autoprune.errors import InputError

__all__ = ["ImageFolder", "Manifest", "folder", "manifest_of"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
SHARES = {"test": 0.15, "search": 0.10, "calibration": 0.10}  # of the images that they are taken from
MOST = {"search": 5000, "calibration": 512}  # more would make scoring slow, not surer
LARGEST = 224  # pixels; larger images are shrunk to what networks are usually made for
GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16"})


class Manifest(NamedTuple):
    """Which file belongs to which split: classes in order, and for each split (path, label) pairs."""

    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[tuple[Path, int]]]


class ImageFolder(DataSource[Path]):
    """`folder:DIR`: a folder of images; see the module's text for its layout."""

    takes = "DIR"

    def locate(self, data_dir: Path | None) -> Path:
        """The folder itself, or where it is relative to `data_dir`."""
        root = Path(self.argument)
        if not root.is_dir() and data_dir is not None and (data_dir / root).is_dir():
            return data_dir / root
        return root.expanduser()

    def splits(self, files: Path, *, batch_size: int, seed: int) -> DataSet:
        """As `folder`."""
        return folder(files, batch_size=batch_size, seed=seed)


def folder(root: Path, *, batch_size: int, seed: int, size: int | None = None) -> DataSet:
    """Loads a folder of images; see the module's text for its layout.

    Grey images give one channel, if all are grey, else three. Images are shrunk or enlarged until their shorter side is
    `size`, and their middle square is taken.

    Args:
        root: The folder.
        batch_size: Images a training batch.
        seed: Of order and augmentation; not of the splits.
        size: Pixels of a side; None takes the median of the shorter sides of the training images, at most 224.

    Raises:
        InputError: If the folder is missing or not laid out so, has one class or too few images, or an image is
            damaged.
    """
    manifest = manifest_of(root)
    shapes, grey = _surveyed([path for pairs in manifest.splits.values() for path, _ in pairs])
    if size is None:
        sides = [shapes[path] for path, _ in manifest.splits["train"]]
        size = min(LARGEST, int(np.median(sides)))
    _refuse_what_cannot_fit(root, len(shapes) * size * size * (1 if grey else 3))
    parts = {
        name: Images(
            torch.stack([_read(path, size, grey) for path, _ in pairs]), torch.tensor([label for _, label in pairs])
        )
        for name, pairs in manifest.splits.items()
    }
    return from_images(
        f"folder:{root}", parts, classes=len(manifest.classes), augment=Augmentation(pad=size // 8, flip=True),
        batch_size=batch_size, seed=seed, dense_epochs=60,
    )  # fmt: skip


def manifest_of(root: Path) -> Manifest:
    """Deals a folder's files to the four splits.

    Raises:
        InputError: If the folder is missing or not laid out as it should be, or has fewer than two classes.
    """
    if not root.is_dir():
        raise InputError(f"there is no folder {root}")
    given = {"train": root}
    if (root / "train").is_dir():
        given = _given_splits(root)
    classes = tuple(sorted(child.name for child in _children(given["train"]) if child.is_dir()))
    if len(classes) < 2:
        raise InputError(
            f"{given['train']} has {len(classes)} class folders; it must have at least two, "
            "each with the images of one class"
        )
    splits = {name: _files(at, classes) for name, at in given.items()}
    train = splits.pop("train")
    sizes = {
        name: max(len(classes), min(MOST.get(name, len(train)), round(share * len(train))))
        for name, share in SHARES.items()
        if name not in splits
    }
    labels = [label for _, label in train]
    names = [path.relative_to(given["train"]).as_posix() for path, _ in train]
    dealt = split(labels, sizes, "folder", names)
    missing = set(range(len(classes))) - {labels[index] for index in dealt["train"]}
    if missing:
        raise InputError(
            f"class {classes[min(missing)]} in {root} has too few images for training and the other splits"
        )
    return Manifest(classes, splits | {name: [train[i] for i in chosen] for name, chosen in dealt.items()})


def _given_splits(root: Path) -> dict[str, Path]:
    given = {"train": root / "train"}
    if (root / "test").is_dir():
        given["test"] = root / "test"
        if (root / "val").is_dir():
            given["search"] = root / "val"
    elif (root / "val").is_dir():
        given["test"] = root / "val"
    else:
        raise InputError(f"{root} has train but neither test nor val; add one, or put the class folders right into it")
    return given


def _files(at: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    unknown = [child.name for child in _children(at) if child.is_dir() and child.name not in classes]
    if unknown:
        raise InputError(f"{at} has a class {unknown[0]} that the training images do not have")
    found = []
    for label, name in enumerate(classes):
        paths = [path for path in sorted((at / name).rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
        if not paths:
            raise InputError(f"{at / name} has no images ({', '.join(sorted(SUFFIXES))})")
        found += [(path, label) for path in paths]
    return found


def _children(at: Path) -> list[Path]:
    try:
        return [child for child in sorted(at.iterdir()) if not child.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{at} cannot be read: {error.strerror or error}") from error


def _surveyed(paths: Sequence[Path]) -> tuple[dict[Path, int], bool]:
    """Each image's shorter side in pixels, and whether all are grey; reads headers only."""
    sides, grey = {}, True
    for path in paths:
        try:
            with Image.open(path) as image:
                sides[path] = min(image.size)
                grey = grey and image.mode in GREY_MODES
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} is not an image that can be read: {error}") from error
    return sides, grey


def _read(path: Path, size: int, grey: bool) -> Tensor:
    """One image as bytes (C, size, size)."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel, which convert would clip at 255
                upright = Image.fromarray((np.asarray(upright, dtype=np.float32) / 257).round().astype(np.uint8))
            square = ImageOps.fit(upright.convert("L" if grey else "RGB"), (size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    pixels = torch.from_numpy(np.array(square, dtype=np.uint8))
    return pixels[None] if grey else pixels.permute(2, 0, 1)


def _refuse_what_cannot_fit(root: Path, needed: int) -> None:
    # A split being stacked is there twice for a moment.
    available = psutil.virtual_memory().available
    if 2 * needed > available:
        raise InputError(
            f"the images of {root} need {2 * needed / 2**30:.1f} GiB of memory but {available / 2**30:.1f} are free; "
            "give loaders of your own as package.module:function"
        )
