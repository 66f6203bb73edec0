"""Weights that the forward computes: sums, products and pads of parameters, and fixed kernels spread over channels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.nets.plain import Case, conv


class Computed(nn.Module):
    """A layer between two others whose weight is a function of the module's parameters.

    Args:
        weight: The weight of a convolution of 8 channels to 6, from the module.
        shapes: The parameters' shapes by name.
    """

    def __init__(self, weight: Callable[[Computed], Tensor], **shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.weight_of, self.a, self.fc = weight, conv(3, 8), nn.Linear(6, 3)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_of(self)
        return self.fc(F.relu(F.conv2d(F.relu(self.a(x)), weight, padding=weight.shape[-1] // 2)).mean((2, 3)))


LARGE, SMALL = (6, 8, 3, 3), (6, 8, 1, 1)


def summed() -> nn.Module:
    return Computed(lambda n: n.v + 0.5 * n.w, v=LARGE, w=LARGE)


def merged() -> nn.Module:
    """Structural re-parameterisation: a 1x1 kernel is padded and added to a 3x3 one."""
    return Computed(lambda n: n.v + F.pad(n.w, (1, 1, 1, 1)), v=LARGE, w=SMALL)


def stacked() -> nn.Module:
    return Computed(
        lambda n: (torch.stack([n.v, n.w]) * n.mix.softmax(0)).sum(0), v=LARGE, w=LARGE, mix=(2, 1, 1, 1, 1)
    )


def joined() -> nn.Module:
    """Rows of two parameters, one behind the other."""
    return Computed(lambda n: torch.cat([n.v, n.w]), v=(2, 8, 3, 3), w=(4, 8, 3, 3))


def scaled() -> nn.Module:
    return Computed(lambda n: torch.exp(n.s) * n.v, v=LARGE, s=(1, 8, 1, 1))


def flipped() -> nn.Module:
    return Computed(lambda n: n.v.flip([2, 3]), v=LARGE)


def low_rank() -> nn.Module:
    """A weight and the product of two thin ones, whose rank can shrink, too."""
    return Computed(lambda n: n.v + (n.up @ n.down).reshape(n.v.shape), v=SMALL, up=(6, 4), down=(4, 8))


def offset() -> nn.Module:
    """No column of a sigmoid is ever 0, so nothing silences what it reads."""
    return Computed(lambda n: torch.sigmoid(n.v), v=LARGE)


class Products(nn.Module):
    """Products with a parameter: einsum with an ellipsis and without a result, and tensordot."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.fc = nn.Linear(7, 8), nn.Linear(4, 3)
        self.w, self.v = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(5, 6))
        self.u = nn.Parameter(torch.randn(5, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.einsum("...i,oi->...o", F.relu(self.a(x)), self.w)
        x = torch.tensordot(x.relu(), self.v, dims=([2], [1]))
        return self.fc(torch.einsum("abc,cd", x.relu(), self.u))


class Fused(nn.Module):
    """Structural re-parameterisation in the forward: BatchNorm folded into 3x3 and 1x1 kernels, and these added."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.large, self.small = conv(3, 8), conv(8, 6, bias=False), conv(8, 6, 1, bias=False)
        self.norms, self.fc = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(2)), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        kernel, bias = torch.zeros((), dtype=x.dtype), torch.zeros((), dtype=x.dtype)
        for layer, norm in zip((self.large, self.small), self.norms, strict=True):
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            edge = 1 - layer.kernel_size[0] // 2
            kernel = kernel + F.pad(layer.weight, (edge,) * 4) * scale.reshape(-1, 1, 1, 1)
            bias = bias + norm.bias - norm.running_mean * scale
        return self.fc(F.relu(F.conv2d(F.relu(self.a(x)), kernel, bias, padding=1)).mean((2, 3)))


class Blur(nn.Module):
    """One fixed kernel, as often as there are channels.

    Args:
        width: Channels.
        way: How the kernel gets there.
    """

    def __init__(self, width: int, way: str) -> None:
        super().__init__()
        self.width, self.way = width, way
        line = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("kernel", (line[:, None] * line / 16)[None, None])
        self.register_buffer("kernels", self.kernel.repeat(width, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        if self.way == "buffer":
            return F.conv2d(x, self.kernels, stride=2, groups=self.width)
        if self.way == "repeat":
            return F.conv2d(x, self.kernel.repeat(self.width, 1, 1, 1), stride=2, groups=self.width)
        if self.way == "expand":
            return F.conv2d(x, self.kernel.expand(self.width, -1, -1, -1), stride=2, groups=self.width)
        kernel = torch.ones(1, 1, 3, 3, dtype=x.dtype) / 9
        if self.way == "shape":
            return F.conv2d(x, kernel.repeat(x.shape[1], 1, 1, 1), groups=x.shape[1])
        return F.conv2d(x, kernel.repeat(8, 1, 1, 1), groups=8)


def blurred(way: str) -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.ReLU(), Blur(8, way), conv(8, 6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )


class OwnNorms(nn.Module):
    """Norms that are called as functions, with the module's own numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.groups = 6, 4
        self.a, self.b, self.fc = conv(3, 8), conv(8, 6), nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(F.group_norm(self.a(x), self.groups)).mean((2, 3))
        return self.fc(F.layer_norm(x, (self.width,), self.scale))


BOTH = {"a": 8, "v": 6}
COMPUTED_CASES: dict[str, Case] = {
    "sum_of_kernels": Case(summed, BOTH),
    "padded_kernel_added": Case(merged, BOTH),
    "kernels_mixed": Case(stacked, BOTH),
    "kernels_joined": Case(joined, {"a": 8, "v": 2, "w": 4}),
    "kernel_scaled_by_exp": Case(scaled, BOTH),
    "kernel_flipped": Case(flipped, BOTH),
    "low_rank_added": Case(low_rank, {**BOTH, "down": 4}),
    "kernel_never_zero": Case(offset, {"v": 6}, {"a": "differs from the one with those units silenced"}),
    "einsum_and_tensordot": Case(Products, {"a": 8, "w": 6, "v": 5, "u": 4}, shape=(1, 5, 7)),
    "kernels_fused_in_the_forward": Case(Fused, {"a": 8, "large": 6}),
    "blur_of_a_buffer": Case(lambda: blurred("buffer"), {"0": 8, "3": 6}),
    "blur_repeated": Case(lambda: blurred("repeat"), {"0": 8, "3": 6}),
    "blur_expanded": Case(lambda: blurred("expand"), {"0": 8, "3": 6}),
    "blur_repeated_by_shape": Case(lambda: blurred("shape"), {"0": 8, "3": 6}),
    "blur_repeated_by_a_number": Case(
        lambda: blurred("number"), {"3": 6}, {"0": "meets a tensor of fixed width in aten.conv2d"}
    ),
}
