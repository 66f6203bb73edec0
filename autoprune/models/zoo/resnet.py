"""The CIFAR residual networks, and their plain twin (He et al., CVPR 2016, arXiv 1512.03385, section 4.2).

A 3 x 3 convolution, three stages of `blocks` two-convolution blocks with 16, 32 and 64 channels (stage 2 and 3
begin with stride 2), global average pooling and one linear layer: 6 * blocks + 2 weighted layers.

Where a block changes shape its shortcut is a 1 x 1 convolution with BatchNorm (the paper's option B). The
paper's CIFAR nets pad with zero channels instead (option A); a projection keeps every coupling between
layers visible as a weight, at 2,752 more parameters for the three-stage nets of width 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.models.zoo._shared import checked_classifier, scaled, start_from_he

__all__ = ["CifarResNet", "plain20", "resnet20", "resnet32", "resnet56"]


class Block(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm; with `residual`, a shortcut around them.

    Input (N, inputs, H, W), output (N, outputs, H / stride, W / stride), both after a ReLU.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, residual: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.residual = residual
        self.downsample: nn.Module | None = None
        if residual and (stride != 1 or inputs != outputs):
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output (N, outputs, H / stride, W / stride) for x (N, inputs, H, W)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.residual:
            out = out + (x if self.downsample is None else self.downsample(x))
        activated: Tensor = self.relu(out)
        return activated


class CifarResNet(nn.Module):
    """A CIFAR residual network, or with `residual=False` the plain network of the same layers.

    Args:
        blocks: Blocks in each of the three stages; the net has 6 * blocks + 2 weighted layers.
        in_channels: Channels of the input image.
        classes: Outputs.
        width: Factor on all 16, 32, 64 channels (rounded, at least one).
        residual: Whether blocks have shortcuts.

    Raises:
        InputError: If a size is not positive.
    """

    def __init__(
        self, blocks: int, *, in_channels: int = 3, classes: int = 10, width: float = 1.0, residual: bool = True
    ) -> None:
        super().__init__()
        checked_classifier(in_channels, classes, width)
        widths = [scaled(channels, width) for channels in (16, 32, 64)]
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.layer1 = _stage(widths[0], widths[0], blocks, stride=1, residual=residual)
        self.layer2 = _stage(widths[0], widths[1], blocks, stride=2, residual=residual)
        self.layer3 = _stage(widths[1], widths[2], blocks, stride=2, residual=residual)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[2], classes)
        start_from_he(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, in_channels, H, W), H and W at least 4."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return out


def _stage(inputs: int, outputs: int, blocks: int, *, stride: int, residual: bool) -> nn.Sequential:
    first = Block(inputs, outputs, stride, residual=residual)
    rest = [Block(outputs, outputs, 1, residual=residual) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def plain20(in_channels: int = 3, classes: int = 10, width: float = 1.0) -> CifarResNet:
    """The 20-layer network without shortcuts: a chain, so every convolution but the last has its own width.

    Raises:
        InputError: If a size is not positive.
    """
    return CifarResNet(3, in_channels=in_channels, classes=classes, width=width, residual=False)


def resnet20(in_channels: int = 3, classes: int = 10, width: float = 1.0) -> CifarResNet:
    """ResNet-20 for images of about 32 x 32.

    Raises:
        InputError: If a size is not positive.
    """
    return CifarResNet(3, in_channels=in_channels, classes=classes, width=width)


def resnet32(in_channels: int = 3, classes: int = 10, width: float = 1.0) -> CifarResNet:
    """ResNet-32 for images of about 32 x 32.

    Raises:
        InputError: If a size is not positive.
    """
    return CifarResNet(5, in_channels=in_channels, classes=classes, width=width)


def resnet56(in_channels: int = 3, classes: int = 10, width: float = 1.0) -> CifarResNet:
    """ResNet-56 for images of about 32 x 32.

    Raises:
        InputError: If a size is not positive.
    """
    return CifarResNet(9, in_channels=in_channels, classes=classes, width=width)
