"""The digits that scikit-learn ships: 1,797 grey 8 x 8 images of 0 to 9 (UCI, Alpaydin and Kaynak 1998).

They are fed at 16 x 16, since the zoo's networks halve the image several times.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from autoprune.data.base import DataSet, DataSource
from autoprune.data.batches import Augmentation
from autoprune.data.images import Images, from_images
from autoprune.data.splits import split

__all__ = ["Digits"]

SIZES = {"test": 360, "search": 300, "calibration": 128}  # the remaining 1,009 are train
FULL_SCALE = 16  # the brightest value of these images
PIXELS = 16


class Digits(DataSource[None]):
    """The digits; nothing is downloaded."""

    shape = (1, PIXELS, PIXELS)
    classes = 10

    def locate(self, data_dir: Path | None) -> None:
        """Nowhere: scikit-learn ships them."""

    def splits(self, files: None, *, batch_size: int, seed: int) -> DataSet:
        """1,009 images to learn from, 128 for calibration, 300 to score on and 360 to test.

        Raises:
            InputError: If the batch is larger than the training split.
        """
        from sklearn.datasets import load_digits  # half a second that the other data sets need not wait

        images, targets = load_digits(return_X_y=True)
        grey = torch.from_numpy(images).float().view(-1, 1, 8, 8) * (255 / FULL_SCALE)
        enlarged = F.interpolate(grey, size=(PIXELS, PIXELS), mode="bilinear", align_corners=False)
        whole, labels = enlarged.round().to(torch.uint8), torch.from_numpy(targets).long()
        parts = {
            name: Images(whole[chosen], labels[chosen]) for name, chosen in split(targets, SIZES, "digits").items()
        }
        # A mirrored digit is no digit: crops only.
        return from_images(
            "digits", parts, classes=10, augment=Augmentation(pad=1),
            batch_size=batch_size, seed=seed, dense_epochs=30,
        )  # fmt: skip
