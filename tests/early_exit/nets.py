"""Networks that can be left early, and one that cannot."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from autoprune.early_exit.network import DynamicNetwork, Exit


class Functional(nn.Module):
    """Residual code without a module for its parts, with sums and activations in place, and sizes that are read."""

    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(8, c, 3, 3) / 8) for c in (1, 8, 8, 8))
        self.out = nn.Linear(8, 4)

    def forward(self, x):
        x = x - 0.5
        for weight in self.weights:
            y = functional.conv2d(x, weight, padding=1)
            x = (y if x.shape[1] == 1 else y.add_(x)).relu_()
        return self.out(x.view(x.shape[0], 8, -1).mean(2))


class Skipping(nn.Module):
    """Two branches from the input to the output: there is no tensor that everything passes through."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3), nn.Conv2d(1, 8, 5)
        self.third, self.fourth = nn.Conv2d(8, 4, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x):
        one, other = self.first(x).relu(), self.second(x).relu()
        return self.third(one).mean((2, 3)) + self.fourth(other).mean((2, 3))


class Masked(nn.Module):
    """Tokens under a mask that every layer reads: an input that is only carried along."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 16)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(2))
        self.out = nn.Linear(16, 3)

    def forward(self, tokens, mask):
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=mask == 0)
        return self.out(x.mean(1))


class Fixed(nn.Module):
    """A forward for one sample at a time."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x):
        x = self.a(x.reshape(1, 6)).relu()
        return self.c(self.b(x).relu())


def dividing(flow, places, heads, confidence, x):
    """Thresholds of two exits under which inputs take different paths, and the paths that are taken."""
    if confidence == "patience":  # nothing leaves before two exits agree
        return [0.6, 0.7], {1, 2}
    free = [Exit(place.name, place.node, 0.0) for place in places]
    sure = DynamicNetwork(flow, free, heads, confidence).explain(x)
    return [float(np.quantile([row[place.name] for row in sure], 0.6)) + 1e-4 for place in places], {0, 1, 2}
