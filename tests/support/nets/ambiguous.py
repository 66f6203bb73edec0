"""Graphs that can be read in several ways, of which the first one freezes what another leaves free."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.nets.plain import Case, Net, conv, pooled


class LinearAttention(nn.Module):
    """A grouped 1x1 convolution in front of it, a group for each head of queries, keys and values: heads go."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.all = nn.Conv2d(width, 3 * heads * size, 1)
        self.mix = nn.Conv2d(3 * heads * size, 3 * heads * size, 1, groups=3 * heads)
        self.out = nn.Conv2d(heads * size, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        q, k, v = self.mix(self.all(x)).reshape(batch, -1, 3 * self.size, height * width).chunk(3, dim=2)
        memory = torch.einsum("bhdn,bhen->bhde", v, F.relu(k))
        return self.out(torch.einsum("bhde,bhen->bhdn", memory, F.relu(q)).reshape(batch, -1, height, width))


def grouped_then_heads() -> nn.Module:
    return nn.Sequential(conv(3, 8), LinearAttention(8, 2, 4), conv(8, 6), nn.Flatten(), nn.Linear(6 * 64, 3))


class TwoBranches(nn.Module):
    """ResNeSt's block: two branches in one grouped convolution, weighted by a softmax over both, and added."""

    def __init__(self, width: int, radix: int = 2) -> None:
        super().__init__()
        self.radix = radix
        self.conv = nn.Conv2d(width, radix * width, 3, padding=1, groups=radix)
        self.down, self.up = nn.Conv2d(width, 4, 1), nn.Conv2d(4, radix * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(x))
        batch, both, height, width = y.shape
        y = y.reshape(batch, self.radix, both // self.radix, height, width)
        gate = self.up(F.relu(self.down(y.sum(1).mean((2, 3), keepdim=True))))
        gate = gate.view(batch, 1, self.radix, -1).transpose(1, 2).softmax(1)
        return (y * gate.reshape(batch, self.radix, both // self.radix, 1, 1)).sum(1)


class Stage(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv(width, inner), TwoBranches(inner), conv(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv3(self.conv2(F.relu(self.conv1(x)))))


def two_branches() -> nn.Module:
    return nn.Sequential(conv(3, 8), nn.ReLU(), TwoBranches(8), conv(8, 6), nn.Flatten(), nn.Linear(6 * 64, 3))


def two_branches_often() -> nn.Module:
    """More blocks than interpretations could be tried one after the other."""
    stages = [nn.Sequential(*(Stage(6, inner) for _ in range(5))) for inner in (4, 6)]
    return nn.Sequential(conv(3, 6), nn.ReLU(), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


class SplitAttention(nn.Module):
    """ResNeSt's gate of two groups of two branches: the same channel of every group and branch goes."""

    def __init__(self, width: int = 8, radix: int = 2, groups: int = 2) -> None:
        super().__init__()
        self.radix, self.groups = radix, groups
        self.a = nn.Conv2d(3, width * radix, 1, bias=False)
        self.f1, self.f2 = nn.Conv2d(width, 8, 1, groups=groups), nn.Conv2d(8, width * radix, 1, groups=groups)
        self.o = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        batch, channels = y.shape[:2]
        parts = torch.split(y, channels // self.radix, 1)
        pooled = F.adaptive_avg_pool2d(sum(parts), 1)
        gate = self.f2(F.relu(self.f1(pooled))).view(batch, self.groups, self.radix, -1).transpose(1, 2)
        gates = torch.split(F.softmax(gate, 1).reshape(batch, -1).view(batch, -1, 1, 1), channels // self.radix, 1)
        return self.o(sum(p * q for p, q in zip(parts, gates, strict=True)))


def grouped_shuffle_grouped() -> nn.Module:
    """ShuffleNet: the rows of one grouped convolution are whole groups of the next."""

    def body(n: Net, x: Tensor) -> Tensor:
        y = n.p(n.a(x))
        b, c, h, w = y.shape
        return pooled(n, n.q(y.view(b, 3, c // 3, h, w).transpose(1, 2).reshape(b, c, h, w)))

    return Net(body, a=conv(3, 6), p=nn.Conv2d(6, 9, 1, groups=3), q=nn.Conv2d(9, 6, 1, groups=3), fc=nn.Linear(6, 3))


AMBIGUOUS_CASES: dict[str, Case] = {
    "grouped_then_heads": Case(grouped_then_heads, {"0": 8, "1.all": 2, "1.out": 8, "2": 6}),
    "two_branches": Case(two_branches, {"0": 4, "2.conv": 8, "2.down": 4, "3": 6}),
    "two_branches_often": Case(
        two_branches_often,
        {"0": 6}
        | {
            f"{stage}.{block}.{layer}": width
            for stage, inner in ((2, 4), (3, 6))
            for block in range(5)
            for layer, width in (("conv1", inner // 2), ("conv2.conv", inner), ("conv2.down", 4))
        },
    ),
    "split_attention": Case(SplitAttention, {"a": 4, "f1": 4}),
    "grouped_shuffle_grouped": Case(grouped_shuffle_grouped, {"a": 2, "p": 3}),
}
