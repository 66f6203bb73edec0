"""Batches of images that are kept as bytes, as a whole, in memory.

A batch is cropped, flipped and normalised as one tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from autoprune.errors import InputError
from autoprune.foundations.seeding import stream

__all__ = ["Augmentation", "Normalisation", "TensorBatches"]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, in units of the full scale: bytes divided by 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: Tensor) -> Normalisation:
        """Computes both from the byte images (N, C, H, W) of the training split.

        Raises:
            InputError: If every pixel of a channel has one value.
        """
        # One channel at a time through its histogram: exact, and no float copy of the whole split.
        levels = torch.arange(256, dtype=torch.float64) / 255
        means, stds = [], []
        for channel in images.unbind(1):
            share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
            mean = float((share * levels).sum())
            means.append(mean)
            stds.append(float((share * (levels - mean) ** 2).sum().sqrt()))
        if min(stds) < 1e-6:
            raise InputError("all training images are of one colour; there is nothing to learn from them")
        return cls(tuple(means), tuple(stds))

    def __call__(self, images: Tensor) -> Tensor:
        """Float32 images (N, C, H, W) of zero mean and unit deviation, from byte images of that shape."""
        mean = torch.tensor(self.mean).view(1, -1, 1, 1) * 255
        std = torch.tensor(self.std).view(1, -1, 1, 1) * 255
        return (images.float() - mean) / std


@dataclass(frozen=True)
class Augmentation:
    """Random crops out of a border of zeros, and horizontal flips.

    Attributes:
        pad: Pixels of border on each side; the crop has the image's own size.
        flip: Whether every second image, at random, is mirrored left to right.
    """

    pad: int = 0
    flip: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented copies of byte images (N, C, H, W), each with its own crop and flip."""
        count, _, height, width = images.shape
        offsets = torch.randint(0, 2 * self.pad + 1, (2, count), generator=generator)
        flipped = torch.rand(count, generator=generator) < (0.5 if self.flip else 0.0)
        rows = offsets[0, :, None] + torch.arange(height)
        columns = torch.arange(width).expand(count, width)
        columns = torch.where(flipped[:, None], width - 1 - columns, columns) + offsets[1, :, None]
        padded = F.pad(images, [self.pad] * 4)
        which = torch.arange(count)[:, None, None]
        # Advanced indices around the channel slice put the channels last: (N, H, W, C).
        cropped = padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        # Not contiguous(), which leaves one channel's strides as they are; they would decide the network's layout.
        return cropped.clone(memory_format=torch.contiguous_format)


class TensorBatches:
    """Batches (images float32 (B, C, H, W) normalised, labels int64 (B,)) of images held in memory.

    Order and augmentation depend on the seed and the epoch alone: after `set_epoch(e)` every iteration gives the same
    batches, so a training that was interrupted after an epoch goes on exactly as it would have.

    Args:
        images: Bytes (N, C, H, W).
        labels: Integers (N,).
        batch_size: Images a batch.
        normalise: What turns bytes into the model's input.
        shuffle: A new order each epoch, and only whole batches (the left-over images differ each epoch); otherwise the
            given order, and a last batch that may be smaller.
        augment: None leaves the images as they are.
        seed: Of order and augmentation.

    Raises:
        InputError: If there are no images, or fewer than a shuffled batch.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        normalise: Normalisation,
        *,
        shuffle: bool = False,
        augment: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        if len(images) != len(labels):
            raise InputError(f"there are {len(images)} images but {len(labels)} labels")
        if batch_size < 1:
            raise InputError(f"batch size {batch_size} is not positive")
        if len(images) < (batch_size if shuffle else 1):
            raise InputError(
                f"there are only {len(images)} training images for a batch of {batch_size}; lower --batch-size"
                if len(images)
                else "a split has no images; there are too few images in all"
            )
        self.images, self.labels = images, labels.long()
        self.batch_size, self.normalise = batch_size, normalise
        self.shuffle, self.augment, self.seed, self.epoch = shuffle, augment, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order and the augmentation of the next iterations."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches an epoch."""
        whole, left = divmod(len(self.images), self.batch_size)
        return whole if self.shuffle or not left else whole + 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(stream(self.seed, self.epoch))
        count = len(self.images)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            images = self.images[chosen]
            if self.augment is not None:
                images = self.augment(images, generator)
            yield self.normalise(images), self.labels[chosen]
