"""Widths that are taken apart: unequal splits, chunks and slices, at the module's own numbers or at fixed places."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.nets.plain import Case, Net, conv, pooled

Take = Callable[[Net, Tensor], Sequence[Tensor]]


class KeysAndValues(nn.Module):
    """Attention of images with fewer keys than values (EfficientViT, LeViT)."""

    def __init__(self, width: int, key: int, value: int) -> None:
        super().__init__()
        self.key, self.value = key, value
        self.all = nn.Conv2d(width, 2 * key + value, 1)
        self.out = nn.Conv2d(value, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        q, k, v = self.all(x).flatten(2).split([self.key, self.key, self.value], dim=1)
        scores = (q.transpose(1, 2) @ k * 0.5).softmax(-1)
        return self.out((v @ scores.transpose(1, 2)).reshape(batch, -1, height, width))


def keys_and_values() -> nn.Module:
    return nn.Sequential(conv(3, 8), KeysAndValues(8, 4, 10), conv(8, 6), nn.Flatten(), nn.Linear(6 * 64, 3))


class Numbers(Net):
    """A network with numbers of its own."""

    def __init__(
        self, forward: Callable[[Net, Tensor], Tensor], numbers: dict[str, object], **parts: nn.Module
    ) -> None:
        super().__init__(forward, **parts)
        vars(self).update(numbers)


def part_and_rest(take: Take, *, residual: bool = False, **numbers: object) -> nn.Module:
    """FasterNet: a part of a width is convolved, the rest is handed on."""

    def body(n: Net, x: Tensor) -> Tensor:
        y = n.stem(x) if residual else F.relu(n.stem(x))
        one, rest = take(n, y)
        joined = torch.cat([n.inner(one), rest], 1)
        return pooled(n, n.out(F.relu(y + joined) if residual else joined))

    return Numbers(body, numbers, stem=conv(3, 12), inner=conv(4, 4), out=conv(12, 6), fc=nn.Linear(6, 3))


def three(take: Take, *, width: int = 12, one: int = 4, two: int = 3, **numbers: object) -> nn.Module:
    """Three parts of a width: two are convolved, the third is handed on."""

    def body(n: Net, x: Tensor) -> Tensor:
        first, second, third = take(n, F.relu(n.stem(x)))
        return pooled(n, n.out(torch.cat([n.p(first), n.q(second), third], 1)))

    numbers = {"one": one, "two": two, "third": width - one - two} | numbers
    return Numbers(
        body, numbers, stem=conv(3, width), p=conv(one, 5), q=conv(two, 4), out=conv(5 + 4 + width - one - two, 6),
        fc=nn.Linear(6, 3),
    )  # fmt: skip


def scales() -> nn.Module:
    """EdgeNeXt: parts of ``self.width`` channels, the last narrower; each is added to the next."""

    def body(n: Net, x: Tensor) -> Tensor:
        one, two, rest = torch.split(F.relu(n.stem(x)), n.width, 1)
        first = n.p(one)
        return pooled(n, n.out(torch.cat([first, n.q(first + two), rest], 1)))

    return Numbers(
        body, {"width": 5}, stem=conv(3, 14), p=conv(5, 5), q=conv(5, 5), out=conv(14, 6), fc=nn.Linear(6, 3)
    )


def gate(take: Take, **numbers: object) -> nn.Module:
    """WaveNet's gate: one part is gated by another."""

    def body(n: Net, x: Tensor) -> Tensor:
        one, other = take(n, n.a(x))
        return pooled(n, n.b(torch.tanh(one) * torch.sigmoid(other)))

    return Numbers(body, numbers, a=conv(3, 12), b=conv(6, 5), fc=nn.Linear(5, 3))


def left_over() -> nn.Module:
    """Every second of 13 channels: six pairs can go, the last stays."""

    def body(n: Net, x: Tensor) -> Tensor:
        y = F.relu(n.a(x))
        return pooled(n, n.b(torch.cat([y[:, ::2], y[:, 1::2].neg()], 1)))

    return Net(body, a=conv(3, 13), b=conv(13, 5), fc=nn.Linear(5, 3))


def unflattened() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 48), nn.ReLU(), nn.Unflatten(1, (12, 2, 2)), nn.ConvTranspose2d(12, 6, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(6 * 9, 3),
    )  # fmt: skip


def another_number() -> nn.Module:
    """A part as wide as a tensor of ones, which no layer makes."""

    def body(n: Net, x: Tensor) -> Tensor:
        y = n.a(x)
        ones = y.new_ones(1, n.part, 8, 8).expand_as(y[:, :4])
        return pooled(n, n.b(torch.cat([y[:, : n.part].relu(), y[:, n.part :], ones], 1)))

    return Numbers(body, {"part": 4}, a=conv(3, 12), b=conv(16, 5), fc=nn.Linear(5, 3))


PARTS = {"stem": 4, "stem:1": 8, "inner": 4, "out": 6}
STREAM = {"stem": 4, "stem:1": 8, "out": 6}
THREE = {"stem": 4, "stem:1": 3, "stem:2": 5, "p": 5, "q": 4, "out": 6}
FIXED = "cut at fixed places by aten."


PARTS_CASES: dict[str, Case] = {
    "keys_and_values": Case(keys_and_values, {"0": 8, "1.all": 4, "1.all:1": 10, "1.out": 8, "2": 6}),
    "part_and_rest": Case(
        lambda: part_and_rest(lambda n, y: y.split([n.part, n.rest], 1), part=4, rest=8), PARTS
    ),
    "part_and_rest_residual": Case(
        lambda: part_and_rest(lambda n, y: y.split([n.part, n.rest], 1), residual=True, part=4, rest=8), STREAM
    ),
    "part_and_difference": Case(
        lambda: part_and_rest(lambda n, y: y.split([n.part, n.dim - n.part], 1), residual=True, part=4, dim=12), STREAM
    ),
    "part_of_the_shape": Case(
        lambda: part_and_rest(lambda n, y: y.split([n.part, y.shape[1] - n.part], 1), part=4), PARTS
    ),
    "part_sliced": Case(lambda: part_and_rest(lambda n, y: (y[:, : n.part], y[:, n.part :]), part=4), PARTS),
    "part_from_the_end": Case(lambda: part_and_rest(lambda n, y: (y[:, : -n.rest], y[:, -n.rest :]), rest=8), PARTS),
    "part_narrowed": Case(
        lambda: part_and_rest(lambda n, y: (y.narrow(1, 0, n.part), y.narrow(1, n.part, n.rest)), part=4, rest=8), PARTS
    ),
    "part_numbers": Case(
        lambda: part_and_rest(lambda _, y: y.split([4, 8], 1)), {"inner": 4, "out": 6}, {"stem": FIXED}
    ),
    "part_and_number": Case(
        lambda: part_and_rest(lambda n, y: y.split([n.part, 8], 1), part=4),
        {"stem": 4, "inner": 4, "out": 6}, {"stem": f"8 of its 12 units: {FIXED}"},
    ),
    "three_in_a_tuple": Case(lambda: three(lambda n, y: y.split(n.sizes, 1), sizes=(4, 3, 5)), THREE),
    "three_sliced": Case(
        lambda: three(lambda n, y: (y[:, : n.one], y[:, n.one : n.one + n.two], y[:, n.one + n.two :])), THREE
    ),
    "twice_a_number": Case(
        lambda: three(lambda n, y: (y[:, : n.one], y[:, n.one : 2 * n.one], y[:, 2 * n.one :]), two=4),
        {"stem": 4, "stem:1": 4, "p": 5, "q": 4, "out": 6},
    ),
    "uneven_chunks": Case(
        lambda: three(lambda _, y: y.chunk(3, 1), width=16, one=6, two=6),
        {"stem": 4, "p": 5, "q": 4, "out": 6}, {"stem": "4 of its 16 units: left over by aten.chunk"},
    ),
    "tensor_split": Case(
        lambda: three(lambda _, y: y.tensor_split(3, 1), width=13, one=5, two=4),
        {"stem": 4, "p": 5, "q": 4, "out": 6}, {"stem": "1 of its 13 units: left over by aten.tensor_split"},
    ),
    "split_numbers": Case(
        lambda: three(lambda _, y: y.split(6, 1), width=16, one=6, two=6), {"p": 5, "q": 4, "out": 6}, {"stem": FIXED}
    ),
    "scales": Case(scales, {"stem": 4, "q": 5, "out": 6}, {"stem": "2 of its 14 units: left over by aten.split"}),
    "gate_sliced": Case(lambda: gate(lambda n, y: (y[:, : n.r], y[:, n.r :]), r=6), {"a": 6, "b": 5}),
    "gate_every_second": Case(lambda: gate(lambda _, y: (y[:, ::2], y[:, 1::2])), {"a": 6, "b": 5}),
    "gate_of_two_numbers": Case(lambda: gate(lambda n, y: (y[:, : n.r], y[:, n.s :]), r=6, s=6), {"a": 6, "b": 5}),
    "gate_by_numbers": Case(
        lambda: gate(lambda _, y: (y[:, :6], y[:, 6:])), {"b": 5}, {"a": "its forward fails once cut"}
    ),
    "left_over": Case(left_over, {"a": 6, "b": 5}, {"a": "1 of its 13 units: left over by aten.slice"}),
    "unflattened": Case(unflattened, {"0": 12, "3": 6}, shape=(1, 5)),
    "another_number": Case(another_number, {"b": 5}, {"a": FIXED}),
}  # fmt: skip
