"""Operators that leave each channel to itself: resized, sampled, unpooled, transformed over space, scattered."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.nets.plain import Case, Net, conv, pooled
from tests.support.nets.shapes import between

_LINE = (1, 5, 7)


def lines(change: Callable[[Tensor], Tensor]) -> nn.Module:
    """Something done to a linear layer's units before the next layer reads them."""
    return Net(lambda n, x: n.b(change(F.relu(n.a(x)))), a=nn.Linear(7, 8), b=nn.Linear(8, 3))


def sampled(x: Tensor) -> Tensor:
    turn = torch.tensor([[[0.9, 0.1, 0.0], [-0.1, 0.9, 0.0]]], dtype=x.dtype).expand(x.shape[0], 2, 3)
    grid = F.affine_grid(turn, [x.shape[0], 1, 5, 5], align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def sampled_by_a_layer() -> nn.Module:
    """The places are read off the network's own features, so the layer that makes them stays."""

    def body(n: Net, x: Tensor) -> Tensor:
        y = F.relu(n.a(x))
        return pooled(n, n.b(F.grid_sample(y, n.flow(y).tanh().permute(0, 2, 3, 1), align_corners=False)))

    return Net(body, a=conv(3, 8), flow=conv(8, 2), b=conv(8, 6), fc=nn.Linear(6, 3))


def resized(**options: object) -> Callable[[Tensor], Tensor]:
    return lambda x: F.interpolate(x, size=(5, 5), **options)  # type: ignore[arg-type]


def unpooled(x: Tensor) -> Tensor:
    small, places = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(small.sigmoid(), places, 2)


def fourier(x: Tensor) -> Tensor:
    return torch.fft.irfft2(torch.fft.rfft2(x) * 0.5, s=x.shape[-2:]) + torch.fft.fft(x, dim=-1).abs()


class GlobalFilter(nn.Module):
    """A learnt complex filter for every channel, kept as two real numbers each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, 8, 5, 2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x) * torch.view_as_complex(self.weight), s=x.shape[-2:])


def filtered() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        return pooled(n, n.b(n.filter(n.a(x))))

    return Net(body, a=conv(3, 8), filter=GlobalFilter(8), b=conv(8, 6), fc=nn.Linear(6, 3))


def messages(x: Tensor) -> Tensor:
    """Sums over the neighbours of every node, written in three ways."""
    source, target = torch.tensor([0, 1, 2, 4]), torch.tensor([3, 3, 1, 0])
    sent = x[:, source]
    total = torch.zeros_like(x).index_add(1, target, sent)
    spread = target[None, :, None].expand_as(sent)
    most = torch.zeros_like(x).scatter_reduce(1, spread, sent, "amax")
    return total + most + torch.zeros_like(x).scatter_add_(1, spread, sent)


def put(x: Tensor) -> Tensor:
    nodes = x.flatten(0, 1)
    return torch.zeros_like(nodes).index_put((torch.tensor([2, 0, 1]),), nodes[:3]).view_as(x)


class Bag(nn.EmbeddingBag):
    """A class of its own, as torch's operator is given the numbers in one row and the module is not."""


def bags(mode: str) -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        return n.fc(F.relu(n.b(n.bag((x > 0).long()))))

    return Net(body, bag=Bag(4, 8, mode=mode), b=nn.Linear(8, 6), fc=nn.Linear(6, 3))


def widened(x: Tensor) -> Tensor:
    one, other = torch.broadcast_tensors(x, x.mean((2, 3), keepdim=True))
    return one * torch.sigmoid(other)


def figures(x: Tensor) -> Tensor:
    """Several figures of every channel, and differences of neighbours."""
    high, low = torch.var_mean(x, (2, 3), keepdim=True)
    least, most = x.flatten(2).aminmax(dim=2)
    return (
        (x - low) / (high + 1)
        + (most - least)[..., None, None]
        + x.nanmean((2, 3), keepdim=True)
        + x.diff(dim=2).sum(2, keepdim=True)
    )


def listed(x: Tensor) -> Tensor:
    return x * torch.isin(x.round(), torch.tensor([0.0, 1.0], dtype=x.dtype)) + torch.bucketize(x, torch.arange(3))


def einsums(equation: str, change: Callable[[Tensor], tuple[Tensor, ...]]) -> nn.Module:
    return lines(lambda x: torch.einsum(equation, *change(x)))


UNTOUCHED_CASES: dict[str, Case] = {
    "grid_sample": Case(lambda: between(sampled), {"a": 8, "b": 6}),
    "grid_of_a_layer": Case(sampled_by_a_layer, {"a": 8, "b": 6}, {"flow": "read as places by aten.grid_sampler"}),
    "resized_with_antialiasing": Case(lambda: between(resized(mode="bilinear", antialias=True)), {"a": 8, "b": 6}),
    "resized_bicubic_with_antialiasing": Case(
        lambda: between(resized(mode="bicubic", antialias=True)), {"a": 8, "b": 6}
    ),
    "resized_to_the_nearest": Case(lambda: between(resized(mode="nearest-exact")), {"a": 8, "b": 6}),
    "unpooled": Case(lambda: between(unpooled), {"a": 8, "b": 6}),
    "fourier_over_space": Case(lambda: between(fourier), {"a": 8, "b": 6}),
    "fourier_over_the_width": Case(
        lambda: between(lambda x: torch.fft.fft(x, dim=1).abs()), {"b": 6}, {"a": "transformed by aten.fft_fft"}
    ),
    "global_filter": Case(filtered, {"a": 8, "b": 6}),
    "messages": Case(lambda: lines(messages), {"a": 8}, shape=_LINE),
    "written_by_number": Case(lambda: lines(put), {"a": 8}, shape=_LINE),
    "scattered_over_the_width": Case(
        lambda: lines(lambda x: torch.zeros_like(x).index_add(2, torch.arange(8), x)),
        {},
        {"a": "written by number in aten.index_add"},
        _LINE,
    ),
    "embedding_bag_sum": Case(lambda: bags("sum"), {"bag": 8, "b": 6}, shape=(1, 5)),
    "embedding_bag_max": Case(lambda: bags("max"), {"bag": 8, "b": 6}, shape=(1, 5)),
    "broadcast_tensors": Case(lambda: between(widened), {"a": 8, "b": 6}),
    "figures_of_channels": Case(lambda: between(figures), {"a": 8, "b": 6}),
    "looked_up_in_a_list": Case(lambda: between(listed), {"a": 8, "b": 6}),
    "einsum_of_one": Case(lambda: einsums("bti->bi", lambda x: (x,)), {"a": 8}, shape=_LINE),
    "einsum_of_three": Case(
        lambda: einsums("bti,bi,...i->bti", lambda x: (x, x.amax(1), x.sigmoid().mean((0, 1)))), {"a": 8}, shape=_LINE
    ),
}
