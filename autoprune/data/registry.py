"""Data sets by name."""

from __future__ import annotations

from pathlib import Path

from autoprune.data._cifar import cifar
from autoprune.data._digits import digits
from autoprune.data._fashion_mnist import fashion_mnist
from autoprune.data._image_folder import folder
from autoprune.data.base import DataSet
from autoprune.data.loaders import from_reference
from autoprune.errors import InputError
from autoprune.foundations.names import closest
from autoprune.foundations.references import is_reference

__all__ = ["NAMES", "load"]

NAMES = ("digits", "fashion-mnist", "cifar10", "cifar100")
_FOLDER = "folder:"


def load(spec: str, data_dir: Path | None = None, *, batch_size: int = 128, seed: int = 0) -> DataSet:
    """Loads a data set and deals it to its four splits.

    Args:
        spec: One of `NAMES`, "folder:DIR", or "package.module:function" that returns (train, search, test) loaders.
        data_dir: Where downloaded files are, or go; a relative folder:DIR is looked for in it too.
        batch_size: Images a training batch; a user's own loaders have theirs.
        seed: Of order and augmentation. The splits do not depend on it.

    Raises:
        InputError: If there is no such data set, or it cannot be loaded.
    """
    if spec.startswith(_FOLDER):
        return folder(_within(Path(spec.removeprefix(_FOLDER)), data_dir), batch_size=batch_size, seed=seed)
    if spec == "digits":
        return digits(batch_size=batch_size, seed=seed)
    if spec == "fashion-mnist":
        return fashion_mnist(data_dir, batch_size=batch_size, seed=seed)
    if spec in ("cifar10", "cifar100"):
        return cifar(spec, data_dir, batch_size=batch_size, seed=seed)
    if is_reference(spec):
        return from_reference(spec, seed=seed)
    raise InputError(
        f"there is no data set {spec!r}; the nearest name is {closest(spec, NAMES)}. "
        f"There are {', '.join(NAMES)}, folder:DIR and package.module:function"
    )


def _within(root: Path, data_dir: Path | None) -> Path:
    if not root.is_dir() and data_dir is not None and (data_dir / root).is_dir():
        return data_dir / root
    return root.expanduser()
