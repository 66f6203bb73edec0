"""MobileNet V1 (Howard et al. 2017, arXiv 1704.04861) and V2 (Sandler et al., CVPR 2018, arXiv 1801.04381).

Both divide the image's size by 32, which is made for 224 x 224. With `small=True` the first two halvings are left
out (V1: the first convolution's and the second block's; V2: the first convolution's and the 24-channel stage's), so
that images of about 32 x 32 still have 4 x 4 pixels at the end. Parameters are the same in both forms.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.models.zoo._shared import checked_classifier, scaled, start_from_he

__all__ = ["MobileNetV1", "MobileNetV2", "mobilenet_v1", "mobilenet_v2"]

# (output channels, stride) of each depthwise separable block: table 1 of the V1 paper.
V1_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
# (expansion, output channels, blocks, stride of the first) of each stage: table 2 of the V2 paper.
V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class Separable(nn.Module):
    """A depthwise 3 x 3 convolution, then a 1 x 1 convolution, each with BatchNorm and ReLU.

    Input (N, inputs, H, W), output (N, outputs, H / stride, W / stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output (N, outputs, H / stride, W / stride) for x (N, inputs, H, W)."""
        x = self.relu(self.bn1(self.depthwise(x)))
        out: Tensor = self.relu(self.bn2(self.pointwise(x)))
        return out


class MobileNetV1(nn.Module):
    """A 3 x 3 convolution, thirteen depthwise separable blocks, global average pooling, one linear layer.

    Args:
        in_channels: Channels of the input image.
        classes: Outputs.
        width: The paper's width multiplier, a factor on all channels (rounded, at least one).
        small: Whether it is for images of about 32 x 32.

    Raises:
        InputError: If a size is not positive.
    """

    def __init__(self, in_channels: int = 3, classes: int = 10, width: float = 1.0, *, small: bool = False) -> None:
        super().__init__()
        checked_classifier(in_channels, classes, width)
        channels = scaled(32, width)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 1 if small else 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        blocks = []
        for number, (outputs, stride) in enumerate(V1_BLOCKS):
            blocks.append(Separable(channels, scaled(outputs, width), 1 if small and number == 1 else stride))
            channels = scaled(outputs, width)
        self.blocks = nn.Sequential(*blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)
        start_from_he(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, in_channels, H, W)."""
        x = self.blocks(self.relu(self.bn1(self.conv1(x))))
        out: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return out


class Inverted(nn.Module):
    """An inverted residual: 1 x 1 to `expansion` times the channels, depthwise 3 x 3, 1 x 1 back without a ReLU.

    Input (N, inputs, H, W), output (N, outputs, H / stride, W / stride). Where both have one shape the input is added.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand: nn.Module | None = None
        if expansion != 1:
            self.expand = nn.Sequential(nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6())
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.relu = nn.ReLU6()
        self.project = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """The block's output (N, outputs, H / stride, W / stride) for x (N, inputs, H, W)."""
        out: Tensor = x if self.expand is None else self.expand(x)
        out = self.relu(self.bn1(self.depthwise(out)))
        out = self.bn2(self.project(out))
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """A 3 x 3 convolution, seventeen inverted residuals, a 1 x 1 convolution, global average pooling, one linear layer.

    The paper's dropout before the linear layer is left out: one fewer difference between training and evaluation.

    Args:
        in_channels: Channels of the input image.
        classes: Outputs.
        width: The paper's width multiplier; channels become multiples of 8, the last 1280 only ever more.
        small: Whether it is for images of about 32 x 32.

    Raises:
        InputError: If a size is not positive.
    """

    def __init__(self, in_channels: int = 3, classes: int = 10, width: float = 1.0, *, small: bool = False) -> None:
        super().__init__()
        checked_classifier(in_channels, classes, width)
        channels = by_eights(32 * width)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 1 if small else 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU6()
        blocks = []
        for stage, (expansion, outputs, count, first_stride) in enumerate(V2_STAGES):
            for number in range(count):
                stride = first_stride if number == 0 and not (small and stage == 1) else 1
                blocks.append(Inverted(channels, by_eights(outputs * width), stride, expansion))
                channels = by_eights(outputs * width)
        self.blocks = nn.Sequential(*blocks)
        last = by_eights(1280 * max(1.0, width))
        self.conv2 = nn.Conv2d(channels, last, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(last)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(last, classes)
        start_from_he(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, in_channels, H, W)."""
        x = self.blocks(self.relu(self.bn1(self.conv1(x))))
        x = self.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return out


def by_eights(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, at least 8, and never less than nine tenths of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def mobilenet_v1(in_channels: int = 3, classes: int = 10, width: float = 1.0, *, small: bool = False) -> MobileNetV1:
    """MobileNet V1: 568.74 M multiply-accumulates at 224 x 224 with 3 channels and 1,000 classes.

    Raises:
        InputError: If a size is not positive.
    """
    return MobileNetV1(in_channels, classes, width, small=small)


def mobilenet_v2(in_channels: int = 3, classes: int = 10, width: float = 1.0, *, small: bool = False) -> MobileNetV2:
    """MobileNet V2: 300.77 M multiply-accumulates at 224 x 224 with 3 channels and 1,000 classes.

    Raises:
        InputError: If a size is not positive.
    """
    return MobileNetV2(in_channels, classes, width, small=small)
