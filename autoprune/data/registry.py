"""Data sources by name, and the loading of whatever a user names."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from autoprune.data.base import DataSet, DataSource
from autoprune.data.loaders import behind_boundary, from_reference
from autoprune.data.some_classes import classes_in, with_classes
from autoprune.errors import InputError
from autoprune.foundations.names import closest
from autoprune.foundations.references import is_reference
from autoprune.foundations.registry import Registry
from autoprune.foundations.user_code import UserCode, is_foreign, path_of

__all__ = ["SOURCES", "known_shape", "load"]

SOURCES: Registry[type[DataSource[Any]]] = Registry(
    "data set",
    {
        "digits": "autoprune.data.sources.digits:Digits",
        "fashion-mnist": "autoprune.data.sources.fashion_mnist:FashionMNIST",
        "cifar10": "autoprune.data.sources.cifar:CIFAR10",
        "cifar100": "autoprune.data.sources.cifar:CIFAR100",
        "folder": "autoprune.data.sources.image_folder:ImageFolder",
    },
    "autoprune.data",
)
"""Name -> class; other packages add theirs by entry points, or `SOURCES.register`."""


def load(spec: str, data_dir: Path | None = None, *, batch_size: int = 128, seed: int = 0) -> DataSet:
    """Loads a data set and deals it to its four splits.

    Args:
        spec: A name of `SOURCES` ("folder:DIR" takes a folder), with "@0-4" behind it for some of its classes; or
            "package.module:function" that returns (train, search, test) loaders.
        data_dir: Where downloaded files are, or go; a relative folder:DIR is looked for in it too.
        batch_size: Images a training batch; a user's own loaders have theirs.
        seed: Of order and augmentation. The splits do not depend on it.

    Raises:
        InputError: If there is no such data set, or it cannot be loaded.
    """
    name, classes = classes_in(spec)
    if classes is not None and _source(name) is not None:
        return with_classes(load(name, data_dir, batch_size=batch_size, seed=seed), *classes)
    source = _source(spec)
    if source is not None:
        with UserCode(f"the data set {path_of(source)}") if is_foreign(source) else nullcontext():
            loaded = source.load(data_dir, batch_size=batch_size, seed=seed)
        return behind_boundary(loaded, path_of(source)) if is_foreign(source) else loaded
    if is_reference(spec):
        return from_reference(spec, seed=seed)
    raise InputError(
        f"there is no data set {spec!r}; the nearest name is {closest(spec, SOURCES)}. "
        f"There are {', '.join(map(_as_written, SOURCES))} and package.module:function"
    )


def known_shape(spec: str) -> tuple[tuple[int, int, int], int] | None:
    """Shape (C, H, W) of one image and number of classes, where they are known without loading anything."""
    name, classes = classes_in(spec)
    source = _source(name)
    if source is None or source.shape is None or source.classes is None:
        return None
    return source.shape, source.classes if classes is None else classes[1] - classes[0] + 1


def _source(spec: str) -> DataSource[Any] | None:
    """The source that a spec names, with its argument; None where it names none, or one that takes no argument."""
    name, colon, argument = spec.partition(":")
    if name not in SOURCES:
        return None
    source = SOURCES.get(name)
    return source(argument) if bool(colon) == bool(source.takes) else None


def _as_written(name: str) -> str:
    """How users write a source that ships; another package's is not imported for a message."""
    return f"{name}:DIR" if name == "folder" else name
