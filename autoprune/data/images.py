"""From byte images, already dealt to splits, to a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from autoprune.data.base import DataSet
from autoprune.data.batches import Augmentation, Normalisation, TensorBatches
from autoprune.errors import InputError

__all__ = ["Images", "from_images"]

EVALUATION_BATCH = 500  # scoring keeps no activations for a backward pass, so larger batches fit and are faster
_EVALUATION_NUMBERS = 2**24  # of such a batch's images: at 224x224 these are 111 images


class Images(NamedTuple):
    """Byte images (N, C, H, W) and their labels (N,)."""

    images: Tensor
    labels: Tensor


def from_images(
    name: str,
    parts: Mapping[str, Images],
    *,
    classes: int,
    augment: Augmentation,
    batch_size: int,
    seed: int,
    dense_epochs: int,
) -> DataSet:
    """A data set out of the splits "train", "calibration", "search" and "test".

    Raises:
        InputError: If there is one class only, or fewer training images than a batch.
    """
    if classes < 2:
        raise InputError(f"{name} has {classes} class; there is nothing to tell apart")
    normalise = Normalisation.of(parts["train"].images)

    def plain(split: str, size: int) -> TensorBatches:
        return TensorBatches(*parts[split], size, normalise)

    scored = max(1, min(EVALUATION_BATCH, _EVALUATION_NUMBERS // max(1, parts["train"].images[0].numel())))
    train = TensorBatches(*parts["train"], batch_size, normalise, shuffle=True, augment=augment, seed=seed)
    return DataSet(
        name=name,
        train=train,
        calibration=plain("calibration", _even(len(parts["calibration"].labels), batch_size)),
        search=plain("search", scored),
        test=plain("test", scored),
        classes=classes,
        shape=tuple(parts["train"].images.shape[1:]),
        example=normalise(parts["calibration"].images[:1]),
        counts={split: len(part.labels) for split, part in parts.items()},
        dense_epochs=dense_epochs,
        normalisation=normalise,
    )


def _even(images: int, size: int) -> int:
    """The batch size that deals images to as many batches, none of them much smaller: one image has no statistics."""
    return max(1, -(-images // max(1, -(-images // size))))
