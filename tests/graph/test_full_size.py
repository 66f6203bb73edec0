"""What large networks take: memory in proportion to their widths, not to their weights."""

from __future__ import annotations

import tracemalloc

import torch
from torch import nn

from autoprune.graph import analyse


class Perceptron(nn.Module):
    """A residual perceptron of a transformer's form."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(nn.functional.gelu(self.up(x)))


def test_coupling_takes_few_bytes_a_weight():
    net = nn.Sequential(nn.Linear(16, 512), *(Perceptron(512, 2048) for _ in range(4)), nn.Linear(512, 4))
    weights = sum(p.numel() for p in net.parameters())
    analyse(nn.Linear(2, 2), torch.zeros(1, 2), validate=False)  # the first export imports much of torch
    tracemalloc.start()
    analysis = analyse(net, torch.zeros(1, 16), validate=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(group.width for group in analysis.groups) == [512, 2048, 2048, 2048, 2048]
    assert peak < 2 * weights, f"{peak / weights:.1f} bytes a weight"
