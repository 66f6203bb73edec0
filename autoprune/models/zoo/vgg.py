"""VGG-16 with BatchNorm in its CIFAR form (Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556).

Thirteen 3 x 3 convolutions in five stages and one linear layer. As in Network Slimming (Liu et al., ICCV 2017) a global
average takes the place of the fifth pooling, so that images of 16 x 16 and 28 x 28 pixels, which are one pixel
after four poolings, fit as 32 x 32 ones do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.models.zoo._shared import checked_classifier, scaled, start_from_he

__all__ = ["CifarVGG", "vgg16_bn"]

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class CifarVGG(nn.Module):
    """A chain of convolutions; see the module's text.

    Args:
        in_channels: Channels of the input image.
        classes: Outputs.
        width: Factor on all channels (rounded, at least one).

    Raises:
        InputError: If a size is not positive.
    """

    def __init__(self, in_channels: int = 3, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        checked_classifier(in_channels, classes, width)
        layers: list[nn.Module] = []
        inputs = in_channels
        for number, stage in enumerate(STAGES):
            if number:
                layers.append(nn.MaxPool2d(2))
            for channels in stage:
                outputs = scaled(channels, width)
                # A bias would be undone by the BatchNorm that follows.
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)
        start_from_he(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, in_channels, H, W), H and W at least 16."""
        out: Tensor = self.fc(torch.flatten(self.avgpool(self.features(x)), 1))
        return out


def vgg16_bn(in_channels: int = 3, classes: int = 10, width: float = 1.0) -> CifarVGG:
    """VGG-16 with BatchNorm for images of 16 x 16 pixels and more.

    Raises:
        InputError: If a size is not positive.
    """
    return CifarVGG(in_channels, classes, width)
