"""The network that the fuzzed policies name."""

import torch
from torch import nn


class Tiny(nn.Module):
    """Three prunable convolutions, for images (N, 3, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3), nn.Conv2d(12, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.c(torch.relu(self.b(torch.relu(self.a(x)))))).mean((2, 3)))


def tiny():
    """The factory."""
    return Tiny()
