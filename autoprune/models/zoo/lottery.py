"""The networks of the lottery ticket hypothesis (Frankle and Carbin, ICLR 2019, arXiv 1803.03635, figure 2).

LeNet-300-100 (LeCun et al., 1998) has linear layers alone. Conv-2, -4 and -6 are VGG's first stages, a pooling after
each pair of convolutions, and two linear layers of 256. Neither has norms; weights start from Glorot's normal ones,
biases from 0. Both read images of one size, that of `image_size`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.models.zoo._shared import checked_classifier, scaled

__all__ = ["LeNet300", "PairedConvs", "conv2", "conv4", "conv6", "lenet_300_100"]


class LeNet300(nn.Module):
    """Linear layers of 300 and 100 units, and the outputs.

    Args:
        in_channels: Channels of the input image.
        classes: Outputs.
        width: Factor on both hidden layers (rounded, at least one unit).
        image_size: Pixels of a side.

    Raises:
        InputError: If a size is not positive.
    """

    def __init__(self, in_channels: int = 1, classes: int = 10, width: float = 1.0, image_size: int = 28) -> None:
        super().__init__()
        _checked(in_channels, classes, width, image_size, halvings=0)
        first, second = scaled(300, width), scaled(100, width)
        self.fc1 = nn.Linear(in_channels * image_size**2, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, classes)
        _start_from_glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, in_channels, image_size, image_size)."""
        x = torch.relu(self.fc1(torch.flatten(x, 1)))
        out: Tensor = self.fc3(torch.relu(self.fc2(x)))
        return out


class PairedConvs(nn.Module):
    """Pairs of 3 x 3 convolutions, each followed by a pooling, then two linear layers of 256 and the outputs.

    Args:
        pairs: How many, 1 to 3; of 64, 128 and 256 channels.
        in_channels: Channels of the input image.
        classes: Outputs.
        width: Factor on all channels and hidden units (rounded, at least one).
        image_size: Pixels of a side.

    Raises:
        InputError: If a size is not positive, or the image is used up by the poolings.
    """

    def __init__(self, pairs: int, in_channels: int, classes: int, width: float, image_size: int) -> None:
        super().__init__()
        _checked(in_channels, classes, width, image_size, halvings=pairs)
        layers: list[nn.Module] = []
        inputs = in_channels
        for channels in (scaled(64 * 2**number, width) for number in range(pairs)):
            for source in (inputs, channels):
                layers += [nn.Conv2d(source, channels, 3, padding=1), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            inputs = channels
        self.features = nn.Sequential(*layers)
        hidden = scaled(256, width)
        self.fc1 = nn.Linear(inputs * (image_size // 2**pairs) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, classes)
        _start_from_glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, in_channels, image_size, image_size)."""
        x = torch.relu(self.fc1(torch.flatten(self.features(x), 1)))
        out: Tensor = self.fc3(torch.relu(self.fc2(x)))
        return out


def lenet_300_100(in_channels: int = 1, classes: int = 10, width: float = 1.0, image_size: int = 28) -> LeNet300:
    """LeNet-300-100; 266,200 weights for grey images of 28 x 28 pixels.

    Raises:
        InputError: If a size is not positive.
    """
    return LeNet300(in_channels, classes, width, image_size)


def conv2(in_channels: int = 3, classes: int = 10, width: float = 1.0, image_size: int = 32) -> PairedConvs:
    """Conv-2: 4.3 million weights for images of 32 x 32 pixels.

    Raises:
        InputError: If a size is not positive, or the image is used up by the poolings.
    """
    return PairedConvs(1, in_channels, classes, width, image_size)


def conv4(in_channels: int = 3, classes: int = 10, width: float = 1.0, image_size: int = 32) -> PairedConvs:
    """Conv-4: 2.4 million weights for images of 32 x 32 pixels.

    Raises:
        InputError: If a size is not positive, or the image is used up by the poolings.
    """
    return PairedConvs(2, in_channels, classes, width, image_size)


def conv6(in_channels: int = 3, classes: int = 10, width: float = 1.0, image_size: int = 32) -> PairedConvs:
    """Conv-6: 2.3 million weights for images of 32 x 32 pixels (the table of the paper has 1.7 million).

    Raises:
        InputError: If a size is not positive, or the image is used up by the poolings.
    """
    return PairedConvs(3, in_channels, classes, width, image_size)


def _checked(in_channels: int, classes: int, width: float, image_size: int, *, halvings: int) -> None:
    checked_classifier(in_channels, classes, width)
    if image_size < 2**halvings:
        raise InputError(f"image_size is {image_size}; the network needs at least {2**halvings} pixels")


def _start_from_glorot(model: nn.Module) -> None:
    """Glorot and Bengio's normal weights, AISTATS 2010, equation 12; biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)
