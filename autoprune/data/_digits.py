"""The digits that scikit-learn ships: 1,797 grey 8 x 8 images of 0 to 9 (UCI, Alpaydin and Kaynak 1998).

They are fed at 16 x 16, since the zoo's networks halve the image several times.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from autoprune.data._build import Images, from_images
from autoprune.data.base import Augmentation, DataSet
from autoprune.data.splits import split

__all__ = ["digits"]

SIZES = {"test": 360, "search": 300, "calibration": 128}  # the remaining 1,009 are train
FULL_SCALE = 16  # the brightest value of these images
PIXELS = 16


def digits(*, batch_size: int, seed: int) -> DataSet:
    """Loads the digits; nothing is downloaded.

    Raises:
        InputError: If the batch is larger than the training split.
    """
    from sklearn.datasets import load_digits  # half a second that the other data sets need not wait

    images, targets = load_digits(return_X_y=True)
    grey = torch.from_numpy(images).float().view(-1, 1, 8, 8) * (255 / FULL_SCALE)
    enlarged = F.interpolate(grey, size=(PIXELS, PIXELS), mode="bilinear", align_corners=False)
    whole, labels = enlarged.round().to(torch.uint8), torch.from_numpy(targets).long()
    parts = {name: Images(whole[chosen], labels[chosen]) for name, chosen in split(targets, SIZES, "digits").items()}
    # A mirrored digit is no digit: crops only.
    return from_images(
        "digits", parts, classes=10, augment=Augmentation(pad=1),
        batch_size=batch_size, seed=seed, dense_epochs=30,
    )  # fmt: skip
