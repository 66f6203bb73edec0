"""One small net a pattern, each with the groups that a person finds in it: {first producer: units}."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """A net, its input's shape, the groups expected, (part of) the reasons expected, and what norms see."""

    build: Callable[[], nn.Module]
    groups: Mapping[str, int]
    frozen: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, ...] = (1, 3, 8, 8)
    over: Mapping[str, tuple[str, int]] = field(default_factory=dict)


class Net(nn.Module):
    """Layers by keyword, and a forward given as a function of (net, x)."""

    def __init__(self, body: Callable[[Net, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.body = body
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def conv(i: int, o: int, k: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(i, o, k, padding=k // 2, **options)  # type: ignore[arg-type]


def pooled(net: Net, x: Tensor) -> Tensor:
    return net.fc(x.mean((2, 3)))


def plain() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), conv(8, 12, bias=False),
        nn.BatchNorm2d(12, affine=False), nn.SiLU(), nn.Conv2d(12, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(6, 10), nn.Sigmoid(), nn.Linear(10, 4),
    )  # fmt: skip


def flat() -> nn.Module:
    return nn.Sequential(
        conv(3, 6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 10), nn.ReLU(), nn.Linear(10, 3)
    )


def viewed() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = torch.sigmoid(n.a(x))
        return n.fc(x.view(x.size(0), -1))

    return Net(body, a=conv(3, 6), fc=nn.Linear(6 * 64, 5))


def projection() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = F.relu(n.bn0(n.stem(x)))
        y = n.bn2(n.conv2(F.relu(n.bn1(n.conv1(x)))))
        return pooled(n, F.relu(y + n.down(x)))

    return Net(
        body, stem=conv(3, 6), bn0=nn.BatchNorm2d(6), conv1=conv(6, 8, stride=2), bn1=nn.BatchNorm2d(8),
        conv2=conv(8, 12), bn2=nn.BatchNorm2d(12), down=nn.Conv2d(6, 12, 1, 2), fc=nn.Linear(12, 4),
    )  # fmt: skip


def identity() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x)
        x = x + n.conv2(F.relu(n.conv1(x)))
        x += n.conv4(F.gelu(n.conv3(x)))
        return pooled(n, x)

    return Net(
        body,
        stem=conv(3, 8),
        conv1=conv(8, 5),
        conv2=conv(5, 8),
        conv3=conv(8, 7),
        conv4=conv(7, 8),
        fc=nn.Linear(8, 4),
    )


def option_a(joined: bool) -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = F.relu(n.stem(x))
        short = x[:, :, ::2, ::2]
        if joined:
            zeros = torch.zeros(short.size(0), 2, short.size(2), short.size(3))
            short = torch.cat([zeros, short, zeros], 1)
        else:
            short = F.pad(short, (0, 0, 0, 0, 2, 2))
        return pooled(n, F.relu(n.conv2(F.relu(n.conv1(x))) + short))

    return Net(body, stem=conv(3, 6), conv1=conv(6, 9, stride=2), conv2=conv(9, 10), fc=nn.Linear(10, 4))


def depthwise(multiplier: int) -> nn.Module:
    w = 6 * multiplier
    return nn.Sequential(
        conv(3, 6), nn.BatchNorm2d(6), nn.ReLU6(), conv(6, w, groups=6), nn.BatchNorm2d(w), nn.ReLU6(),
        nn.Conv2d(w, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def grouped(groups: int, width: int) -> nn.Module:
    return nn.Sequential(
        conv(3, width), nn.BatchNorm2d(width), nn.ReLU(), conv(width, 2 * width, groups=groups), nn.ReLU(),
        nn.Conv2d(2 * width, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def dense_block() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x)
        x = torch.cat([x, n.b(F.relu(n.bn1(x)))], 1)
        x = torch.cat([x, n.c(F.relu(n.bn2(x)))], 1)
        return pooled(n, F.relu(n.bn3(x)))

    return Net(
        body, a=conv(3, 6), bn1=nn.BatchNorm2d(6), b=conv(6, 4), bn2=nn.BatchNorm2d(10), c=conv(10, 5),
        bn3=nn.BatchNorm2d(15), fc=nn.Linear(15, 4),
    )  # fmt: skip


def inverted() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x)
        for expand, depth, project in ((n.e1, n.d1, n.p1), (n.e2, n.d2, n.p2)):
            x = x + project(depth(expand(x)))
        return pooled(n, x)

    def part(i: int, o: int, k: int, groups: int = 1, act: bool = True) -> nn.Module:
        layers = [conv(i, o, k, groups=groups, bias=False), nn.BatchNorm2d(o)]
        return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if act else nn.Sequential(*layers)

    return Net(
        body, stem=conv(3, 6), e1=part(6, 12, 1), d1=part(12, 12, 3, 12), p1=part(12, 6, 1, act=False),
        e2=part(6, 18, 1), d2=part(18, 18, 3, 18), p2=part(18, 6, 1, act=False), fc=nn.Linear(6, 4),
    )  # fmt: skip


def squeeze_excite() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = F.relu(n.a(x))
        gate = F.adaptive_avg_pool2d(x, 1)
        x = x * torch.sigmoid(n.up(F.relu(n.down(gate))))
        flat_gate = torch.sigmoid(n.line(x.mean((2, 3))))
        return pooled(n, x * flat_gate[:, :, None, None])

    return Net(
        body, a=conv(3, 8), down=nn.Conv2d(8, 4, 1), up=nn.Conv2d(4, 8, 1), line=nn.Linear(8, 8), fc=nn.Linear(8, 3)
    )


def halves(kind: str) -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x)
        if kind == "chunk":
            one, other = x.chunk(2, dim=1)
        elif kind == "split":
            one, other = x.split(x.shape[1] // 2, dim=1)
        else:
            one, other = x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]
        return pooled(n, n.b(one * torch.sigmoid(other)))

    return Net(body, a=conv(3, 12), b=conv(6, 5), fc=nn.Linear(5, 3))


def fixed_slice() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x)
        return pooled(n, n.b(x[:, :4]) + n.c(x[:, 4:]))

    return Net(body, a=conv(3, 12), b=conv(4, 5), c=conv(8, 5), fc=nn.Linear(5, 3))


def shuffle() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = F.relu(n.a(x))
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return pooled(n, F.relu(n.b(x)))

    return Net(body, a=conv(3, 8), b=conv(8, 12, groups=2), fc=nn.Linear(12, 3))


def outer_shuffle() -> nn.Module:
    """The second of two dimensions is a written number: the first reading is wrong and has to be flipped."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = F.relu(n.a(x))
        b, c, h, w = x.shape
        x = x.reshape(b, c // 2, 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return pooled(n, F.relu(n.b(x)))

    return Net(body, a=conv(3, 8), b=conv(8, 12), fc=nn.Linear(12, 3))


def slopes() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.PReLU(8), conv(8, 6), nn.PReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )


def one_d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6, 4, 3, groups=2), nn.AvgPool1d(2), nn.Flatten(),
        nn.Linear(4 * 6, 3),
    )  # fmt: skip


def three_d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 6, 3),
        nn.BatchNorm3d(6),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(6, 4, 1),
        nn.Flatten(),
        nn.Linear(32, 3),
    )


def transposed(groups: int) -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.ReLU(), nn.ConvTranspose2d(8, 12, 2, 2, groups=groups), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Upsample(scale_factor=2), conv(12, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def twice() -> nn.Module:
    """One convolution used twice: its rows and columns are one group; two modules share one weight."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x)
        x = F.relu(n.b(F.relu(n.b(x))))
        return pooled(n, n.d(F.relu(n.c(x))))

    net = Net(body, a=conv(3, 8), b=conv(8, 8), c=conv(8, 8), d=conv(8, 6), fc=nn.Linear(6, 3))
    net.c.weight = net.b.weight
    return net


class Scaled(nn.Module):
    """A layer scale as a bare parameter, a buffer as wide as a channel, a matrix as a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 6), conv(6, 8)
        self.scale = nn.Parameter(torch.rand(6, 1, 1))
        self.register_buffer("mean", torch.rand(1, 8, 1, 1), persistent=False)
        self.matrix = nn.Parameter(torch.rand(8, 7))
        self.fc = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b(self.a(x) * self.scale) - self.mean)
        return self.fc((x.flatten(2).mean(-1) @ self.matrix).relu())


def from_input() -> nn.Module:
    return Net(lambda n, x: pooled(n, x + n.b(n.a(x))), a=conv(3, 6), b=conv(6, 3), fc=nn.Linear(3, 3))


def unknown() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.b(torch.cummax(n.a(x), 1)[0])
        return pooled(n, n.c(F.relu(x)))

    return Net(body, a=conv(3, 8), b=conv(8, 6), c=conv(6, 5), fc=nn.Linear(5, 3))


def numbered_view() -> nn.Module:
    """Sizes written as numbers: only the user's own forward on a cut copy tells."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(n.b(F.relu(n.a(x))), 1)
        return n.fc(x.view(-1, 6))

    return Net(body, a=conv(3, 8), b=conv(8, 6), fc=nn.Linear(6, 3))


def weight_norm() -> nn.Module:
    net = plain()
    net[4] = nn.utils.parametrizations.weight_norm(net[4])
    return net


def standardised() -> nn.Module:
    """A convolution whose weight is normalised over its inputs: silencing one changes the others."""

    def body(n: Net, x: Tensor) -> Tensor:
        w = n.b.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True)
        return pooled(n, F.conv2d(n.a(x), w, n.b.bias, padding=1))

    return Net(body, a=conv(3, 8), b=conv(8, 6), fc=nn.Linear(6, 3))


def doubled_weight() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        return pooled(n, F.conv2d(n.a(x), 2 * n.b.weight, n.b.bias, padding=1))

    return Net(body, a=conv(3, 8), b=conv(8, 6), fc=nn.Linear(6, 3))


def hyper() -> nn.Module:
    """A layer's weight is made from the input."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x).mean((2, 3))
        return F.linear(F.relu(n.b(x)), n.maker(x).view(5, 6).sigmoid())

    return Net(body, a=conv(3, 8), b=nn.Linear(8, 6), maker=nn.Linear(8, 30)).requires_grad_(False)


def recurrent() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        out, _ = n.lstm(n.a(x).flatten(2).transpose(1, 2))
        return n.fc(F.relu(n.b(out[:, -1])))

    return Net(body, a=conv(3, 8), lstm=nn.LSTM(8, 6, batch_first=True), b=nn.Linear(6, 7), fc=nn.Linear(7, 3))


def attention() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        t = n.a(x).flatten(2).transpose(1, 2)
        t = t + n.mha(t, t, t)[0]
        return n.fc(F.gelu(n.b(t)).mean(1))

    return Net(
        body, a=conv(3, 8), mha=nn.MultiheadAttention(8, 2, batch_first=True), b=nn.Linear(8, 7), fc=nn.Linear(7, 3)
    )


def written_in() -> nn.Module:
    """Assignment into a part of a tensor."""

    def body(n: Net, x: Tensor) -> Tensor:
        y = n.a(x)
        y[:, :2] = 0
        z = n.b(x)
        z[:, :, 0] *= 2
        return pooled(n, n.c(F.relu(y)) + n.d(z))

    return Net(body, a=conv(3, 8), b=conv(3, 7), c=conv(8, 6), d=conv(7, 6), fc=nn.Linear(6, 3))


def masked() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x)
        return pooled(n, n.b(x * (x.mean((2, 3), keepdim=True) > 0)) + n.c(x[:, [0, 3, 5]]))

    return Net(body, a=conv(3, 8), b=conv(8, 6), c=conv(3, 6), fc=nn.Linear(6, 3))


def unused() -> nn.Module:
    return Net(lambda n, x: pooled(n, n.a(x)), a=conv(3, 8), b=conv(8, 6), fc=nn.Linear(8, 3))


def shuffle_v2() -> nn.Module:
    """A ShuffleNetV2 unit: half passes, half is worked on, then both are interleaved."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x)
        one, other = x.chunk(2, 1)
        x = torch.cat([one, n.pw2(n.dw(F.relu(n.pw1(other))))], 1)
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, -1, h, w)
        return pooled(n, F.relu(n.last(x)))

    return Net(
        body, stem=conv(3, 8), pw1=conv(4, 6, 1), dw=conv(6, 6, groups=6), pw2=conv(6, 4, 1), last=conv(8, 5, 1),
        fc=nn.Linear(5, 3),
    )  # fmt: skip


CASES: dict[str, Case] = {
    "plain": Case(plain, {"0": 8, "4": 12, "7": 6, "11": 10}, {"13": "model output"}),
    "flat": Case(flat, {"0": 6, "4": 10}, {"6": "model output"}),
    "viewed": Case(viewed, {"a": 6}),
    "projection": Case(projection, {"stem": 6, "conv1": 8, "conv2": 12}),
    "identity": Case(identity, {"stem": 8, "conv1": 5, "conv3": 7}),
    "option_a": Case(lambda: option_a(False), {"stem": 6, "conv1": 9}, {"conv2": "4 of its 10 units: padded"}),
    "option_a_cat": Case(lambda: option_a(True), {"stem": 6, "conv1": 9}, {"conv2": "4 of its 10 units: joined"}),
    "depthwise": Case(lambda: depthwise(1), {"0": 6, "6": 8}),
    "depthwise_2": Case(lambda: depthwise(2), {"0": 6, "6": 8}),
    "grouped_few": Case(lambda: grouped(2, 8), {"0": 4, "3": 8, "5": 4}),
    "grouped_many": Case(lambda: grouped(8, 16), {"0": 8, "5": 4}),
    "dense_block": Case(dense_block, {"a": 6, "b": 4, "c": 5}),
    "inverted": Case(inverted, {"stem": 6, "e1.0": 12, "e2.0": 18}),
    "squeeze_excite": Case(squeeze_excite, {"a": 8, "down": 4}),
    "chunk": Case(lambda: halves("chunk"), {"a": 6, "b": 5}),
    "split": Case(lambda: halves("split"), {"a": 6, "b": 5}),
    "slices": Case(lambda: halves("slice"), {"a": 6, "b": 5}),
    "fixed_slice": Case(fixed_slice, {"b": 5}, {"a": "cut at fixed places by aten.slice.Tensor at plain.py:"}),
    # Shuffled, c and c+4 are neighbours; the grouped convolution then ties c with c+2: two units of four channels.
    "shuffle": Case(shuffle, {"a": 2, "b": 6}),
    "outer_shuffle": Case(outer_shuffle, {"a": 4, "b": 12}),
    "slopes": Case(slopes, {"0": 8, "2": 6}),
    "one_d": Case(one_d, {"0": 3, "3": 2}, shape=(1, 3, 16)),
    "three_d": Case(three_d, {"0": 6, "4": 4}, shape=(1, 2, 6, 6, 6)),
    "transposed": Case(lambda: transposed(1), {"0": 8, "2": 12, "6": 4}),
    "transposed_grouped": Case(lambda: transposed(2), {"0": 4, "2": 6, "6": 4}),
    "transposed_groups": Case(lambda: transposed(4), {"0": 4, "6": 4}),
    "twice": Case(twice, {"a": 8, "d": 6}),
    "bare": Case(Scaled, {"a": 6, "b": 8, "matrix": 7}),
    "from_input": Case(from_input, {"a": 6}, {"b": "meets a tensor of fixed width in aten.add.Tensor at plain.py:"}),
    "unknown": Case(unknown, {"b": 6, "c": 5}, {"a": "touched by aten.cummax.default at plain.py:"}),
    "numbered_view": Case(numbered_view, {"a": 8}, {"b": "invalid for input of size"}),
    "weight_norm": Case(weight_norm, {"0": 8, "4": 12, "7": 6, "11": 10}),
    "standardised": Case(standardised, {"b": 6}, {"a": "summed over by aten.mean"}),
    "doubled_weight": Case(doubled_weight, {"a": 8, "b": 6}),
    "hyper": Case(hyper, {"a": 8}),
    "recurrent": Case(recurrent, {"a": 8, "lstm": 6, "b": 7}),
    "attention": Case(attention, {"a": 8, "mha": 2, "b": 7}),
    "written_in": Case(written_in, {"b": 7, "c": 6}, {"a": "the cut network differs"}),
    "masked": Case(masked, {"b": 6}),
    "unused": Case(unused, {"a": 8}, {"b": "not read by the forward pass"}),
    "shuffle_v2": Case(shuffle_v2, {"stem": 4, "pw1": 6, "last": 5}),
}
