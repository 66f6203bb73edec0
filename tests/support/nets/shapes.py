"""Operators that move channels about, pad, repeat or pick them, and sizes that follow a shape."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.nets.plain import Case, Net, conv, pooled


def between(change: Callable[[Tensor], Tensor], width: int = 8, after: int = 8) -> nn.Module:
    """Something done to a layer's channels before the next layer reads them."""

    def body(n: Net, x: Tensor) -> Tensor:
        return pooled(n, F.relu(n.b(change(F.relu(n.a(x))))))

    return Net(body, a=conv(3, width), b=conv(after, 6), fc=nn.Linear(6, 3))


def upscaled() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.ReLU(), conv(8, 16), nn.PixelShuffle(2), conv(4, 5), nn.ReLU(), nn.PixelUnshuffle(2),
        conv(20, 4), nn.Flatten(), nn.Linear(256, 3),
    )  # fmt: skip


def shuffle_by_hand() -> nn.Module:
    """A pixel shuffle as super-resolution code writes it: which of the dimensions shrinks has to be found out."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.b(F.relu(n.a(x)))
        b, c, h, w = x.shape
        x = x.view(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)
        return pooled(n, F.relu(n.c(x)))

    return Net(body, a=conv(3, 8), b=conv(8, 16), c=conv(4, 5), fc=nn.Linear(5, 3))


def option_a_derived(joined: bool) -> nn.Module:
    """A shortcut padded with zeros to the width of the branch, whatever it is."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = F.relu(n.stem(x))
        y = n.conv2(F.relu(n.conv1(x)))
        short, more = x[:, :, ::2, ::2], y.shape[1] - x.shape[1]
        if joined:
            zeros = torch.zeros(short.shape[0], more, *short.shape[2:], dtype=x.dtype)
            short = torch.cat([short, zeros], 1)
        else:
            short = F.pad(short, (0, 0, 0, 0, more // 2, more - more // 2))
        return pooled(n, F.relu(y + short))

    return Net(body, stem=conv(3, 6), conv1=conv(6, 9, stride=2), conv2=conv(9, 10), fc=nn.Linear(10, 4))


def doubled_shortcut() -> nn.Module:
    """A shortcut whose other half is itself times 0."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = F.relu(n.stem(x))
        short = F.avg_pool2d(x, 2)
        return pooled(n, F.relu(n.conv2(F.relu(n.conv1(x))) + torch.cat([short, short.mul(0)], 1)))

    return Net(body, stem=conv(3, 6), conv1=conv(6, 9, stride=2), conv2=conv(9, 12), fc=nn.Linear(12, 4))


def repeat_added() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x)
        return pooled(n, n.c(F.relu(n.b(x) + x.repeat(1, 2, 1, 1))))

    return Net(body, a=conv(3, 6), b=conv(6, 12), c=conv(12, 5), fc=nn.Linear(5, 3))


class Ordered(nn.Module):
    """Channels put in an order that a buffer holds."""

    def __init__(self, pick: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c, self.fc, self.pick = conv(3, 8), conv(8, 6), conv(6, 5), nn.Linear(5, 3), pick
        self.register_buffer("order", torch.tensor([3, 1, 0, 2, 7, 6, 5, 4]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.c(F.relu(self.b(self.pick(self.a(x), self.order)))).mean((2, 3)))


def gathered(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order[None, :, None, None].expand(x.shape[0], -1, *x.shape[2:]))


def spatial_index() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x).flatten(2)
        return n.fc(F.relu(n.b(x[:, :, [0, 5, 9]].transpose(1, 2))).mean(1))

    return Net(body, a=conv(3, 8), b=nn.Linear(8, 6), fc=nn.Linear(6, 3))


def resized() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x)
        y = F.interpolate(n.b(F.max_pool2d(x, 2)), scale_factor=2, mode="nearest")
        z = F.interpolate(n.c(F.avg_pool2d(x, 2)), size=x.shape[2:], mode="bilinear", align_corners=False)
        return pooled(n, F.relu(x + y + z + F.interpolate(x, size=(8, 8), mode="bicubic")))

    return Net(body, a=conv(3, 8), b=conv(8, 8), c=conv(8, 8), fc=nn.Linear(8, 3))


def windows() -> nn.Module:
    """Windows laid out as lines (unfold), and put together again (fold)."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.b(F.unfold(F.relu(n.a(x)), 2, stride=2).transpose(1, 2)).transpose(1, 2)
        return pooled(n, F.relu(n.c(F.fold(F.relu(x), (8, 8), 2, stride=2))))

    return Net(body, a=conv(3, 8), b=nn.Linear(32, 24), c=conv(6, 5), fc=nn.Linear(5, 3))


def adaptive() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.AdaptiveAvgPool2d((2, 3)), conv(8, 6), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(24, 5),
        nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip


def gated() -> nn.Module:
    return nn.Sequential(conv(3, 16), nn.GLU(1), conv(8, 12), nn.GLU(1), nn.Flatten(), nn.Linear(6 * 64, 3))


def maxout(by: Callable[[Tensor], Tensor]) -> nn.Module:
    """The larger of two neighbouring channels."""
    return between(lambda x: by(x.view(x.shape[0], x.shape[1] // 2, 2, *x.shape[2:])), 16)


def padded_space() -> nn.Module:
    return nn.Sequential(
        nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3), nn.ReplicationPad2d(1), nn.Conv2d(8, 6, 3), nn.ZeroPad2d(1),
        nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3, padding=1, padding_mode="circular"), nn.Flatten(),
        nn.Linear(256, 3),
    )  # fmt: skip


def functions() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.Dropout2d(), nn.RReLU(), conv(8, 6), nn.FeatureAlphaDropout(), nn.Hardswish(), conv(6, 5),
        nn.Softplus(), nn.LogSigmoid(), conv(5, 4), nn.Hardsigmoid(), nn.Mish(), nn.Flatten(), nn.Linear(256, 3),
    )  # fmt: skip


def best_channel(x: Tensor) -> Tensor:
    return x * x.argmax(1, keepdim=True)


def topped(x: Tensor) -> Tensor:
    return torch.cat([x, x.topk(2, 1)[0]], 1)


def expanded_gate() -> nn.Module:
    """One map for all channels, expanded to as many as there are."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x)
        gate = torch.sigmoid(n.g(x))
        x = x * gate.expand_as(x) + gate.expand(-1, x.shape[1], -1, -1) + torch.ones(x.shape[1], 1, 1, dtype=x.dtype)
        return pooled(n, n.b(x))

    return Net(body, a=conv(3, 8), g=conv(8, 1), b=conv(8, 6), fc=nn.Linear(6, 3))


def counted() -> nn.Module:
    """A ramp over the channels, made anew for each width: it changes with the cut, so they stay."""
    return between(lambda x: x * torch.arange(x.shape[1], dtype=x.dtype)[:, None, None])


PICKED = {"a": "picked by number in aten.index"}
SHAPE_CASES: dict[str, Case] = {
    "upscaled": Case(upscaled, {"0": 8, "2": 4, "4": 5, "7": 4}),
    "shuffle_by_hand": Case(shuffle_by_hand, {"a": 8, "b": 4, "c": 5}),
    "channel_pad": Case(lambda: between(lambda x: F.pad(x, (0, 0, 0, 0, 0, 4)), after=12), {"a": 8, "b": 6}),
    "option_a_derived": Case(lambda: option_a_derived(False), {"stem": 6, "conv1": 9, "conv2": 2}),
    "option_a_derived_cat": Case(lambda: option_a_derived(True), {"stem": 6, "conv1": 9, "conv2": 4}),
    "doubled_shortcut": Case(doubled_shortcut, {"stem": 6, "conv1": 9}),
    "index_list": Case(lambda: between(lambda x: x[:, [0, 3, 5]], after=3), {"b": 6}, PICKED),
    "order_index": Case(lambda: Ordered(lambda x, order: x[:, order]), {"b": 6, "c": 5}, PICKED),
    "order_select": Case(lambda: Ordered(lambda x, order: x.index_select(1, order)), {"b": 6, "c": 5}, PICKED),
    "order_gather": Case(lambda: Ordered(gathered), {"b": 6, "c": 5}, {"a": "picked by number in aten.gather"}),
    "spatial_index": Case(spatial_index, {"a": 8, "b": 6}),
    "roll_space": Case(lambda: between(lambda x: x.roll((1, 1), (2, 3))), {"a": 8, "b": 6}),
    "roll": Case(lambda: between(lambda x: x.roll(1, 1)), {"b": 6}, {"a": "rolled by aten.roll.default"}),
    "flip": Case(lambda: between(lambda x: x.flip((1,))), {"a": 8, "b": 6}),
    "flip_space": Case(lambda: between(lambda x: x.flip((3,))), {"a": 8, "b": 6}),
    "repeat": Case(lambda: between(lambda x: x.repeat(1, 2, 1, 1), after=16), {"a": 8, "b": 6}),
    "repeat_space": Case(lambda: between(lambda x: x.repeat(1, 1, 2, 2)), {"a": 8, "b": 6}),
    "repeat_interleave": Case(lambda: between(lambda x: x.repeat_interleave(2, 1), after=16), {"a": 8, "b": 6}),
    "repeat_added": Case(repeat_added, {"a": 6, "c": 5}),
    "channel_shuffle": Case(lambda: between(nn.ChannelShuffle(3), 12, 12), {"a": 4, "b": 6}),
    "resized": Case(resized, {"a": 8}),
    "windows": Case(windows, {"a": 8, "b": 6, "c": 5}),
    "unfold": Case(lambda: between(lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))), {"a": 8, "b": 6}),
    "adaptive": Case(adaptive, {"0": 8, "2": 6, "5": 5}),
    "glu": Case(gated, {"0": 8, "2": 6}),
    "maxout": Case(lambda: maxout(lambda x: x.amax(2)), {"a": 8, "b": 6}),
    "maxout_max": Case(lambda: maxout(lambda x: x.max(2)[0]), {"a": 8, "b": 6}),
    "max_space": Case(lambda: between(lambda x: x.flatten(2).max(-1)[0][:, :, None, None]), {"a": 8, "b": 6}),
    "padded_space": Case(padded_space, {"1": 8, "3": 6, "5": 5, "7": 4}),
    "functions": Case(functions, {"0": 8, "3": 6, "6": 5, "9": 4}),
    "expanded_gate": Case(expanded_gate, {"a": 8, "b": 6}),
    "counted": Case(counted, {"b": 6}, {"a": "the cut network differs"}),
    "softmax": Case(lambda: between(lambda x: x.softmax(1)), {"b": 6}, {"a": "summed over by aten.softmax"}),
    "argmax": Case(lambda: between(best_channel), {"b": 6}, {"a": "compared with each other by aten.argmax"}),
    "topk": Case(lambda: between(topped, after=10), {"b": 6}, {"a": "compared with each other by aten.topk"}),
    "response_norm": Case(lambda: between(nn.LocalResponseNorm(3)), {"b": 6}, {"a": "touched by aten."}),
    "cumsum_space": Case(lambda: between(lambda x: x.cumsum(2)), {"a": 8, "b": 6}),
}
