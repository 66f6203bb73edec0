"""Networks named by reference, as a user's own module would hold them."""

from dataclasses import dataclass

import torch
from torch import nn


class Tiny(nn.Module):
    """Two convolutions with BatchNorm, and a classifier; for images (N, 3, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


class TwoImages(Tiny):
    """Takes two images, never more or fewer: no dynamic batch can be exported."""

    def forward(self, x):
        return super().forward(x) + torch.arange(2.0)[:, None] * torch.ones(2, 5)


@dataclass
class Output:
    """A plain dataclass, of which exporters know nothing."""

    features: torch.Tensor
    logits: torch.Tensor


class AsDataclass(Tiny):
    """Two outputs; the one that counts is not the first."""

    def forward(self, x):
        return Output(x.mean((2, 3)), super().forward(x))


class AsDict(Tiny):
    """The same as a dict."""

    def forward(self, x):
        return {"features": x.mean((2, 3)), "logits": super().forward(x)}


class Shifting(Tiny):
    """Writes to its input, as `torchvision`'s normalisation does when it is told to work in place."""

    def forward(self, x):
        return super().forward(x.sub_(0.5))


class Mixed(Tiny):
    """Computes its first convolution in a precision that onnxruntime has none in."""

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.conv1(x)
        y = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(y.float())))))
        return self.fc(y.mean((2, 3)))


class WithArguments(Tiny):
    """Cannot be made by its name alone."""

    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)


def tiny():
    """The factory."""
    return Tiny()


def stirred(model, seed, share=1.0):
    """The model with every weight and every running statistic changed, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator) * 0.2 * share
                tensor += noise.abs() if name.endswith("running_var") else noise
    return model.eval()
