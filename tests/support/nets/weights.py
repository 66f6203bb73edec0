"""Weights that are no plain layer's: bare matrices, einsum, tied, shared, parametrised, recurrent, frozen."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.nets.plain import Case, Net, conv, plain, pooled


class Einsums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.fc = conv(3, 8), nn.Linear(5, 3)
        self.w, self.v = nn.Parameter(torch.randn(8, 6)), nn.Parameter(torch.randn(5, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.einsum("bchw,cd->bdhw", F.relu(self.a(x)), self.w).relu()
        return self.fc(torch.einsum("bdhw,ed->behw", x, self.v).mean((2, 3)))


class Matrices(nn.Module):
    """A matrix on the left, one on the right, a bias as a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.fc = conv(3, 8), nn.Linear(5, 3)
        self.w, self.v = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(6, 5))
        self.bias = nn.Parameter(torch.randn(5))

    def forward(self, x: Tensor) -> Tensor:
        x = (self.w @ F.relu(self.a(x)).flatten(2)).relu()
        return self.fc((x.transpose(1, 2) @ self.v + self.bias).mean(1))


class Scores(nn.Module):
    """Features times a vector: one score for each place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.v, self.fc = nn.Linear(5, 8), nn.Parameter(torch.randn(8)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.a(x)) @ self.v)


class Cells(nn.Module):
    """Recurrent cells in a loop; the state of one is made as wide as its module says, of the other by a number."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.one, self.other, self.fc = nn.Linear(5, 8), nn.LSTMCell(8, 6), nn.GRUCell(6, 7), nn.Linear(7, 3)
        self.width = 7

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[0], 6)
        state = torch.zeros(x.shape[0], self.width, dtype=x.dtype)
        for step in range(x.shape[1]):
            h, c = self.one(self.a(x[:, step]), (h, c))
            state = self.other(h, state)
        return self.fc(state)


class ConvLSTM(nn.Module):
    """Gates out of one convolution, split by a width that the module keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.conv, self.fc = 6, conv(3 + 6, 24), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.shape[0], self.hidden, *x.shape[2:], dtype=x.dtype)
        for _ in range(2):
            i, f, o, g = self.conv(torch.cat([x, h], 1)).split(self.hidden, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.fc(h.mean((2, 3)))


class HeadMatrices(nn.Module):
    """One matrix for each part of the channels; the parts' number is written down, so their width shrinks."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.fc = nn.Linear(3, 8), nn.Linear(20, 3)
        self.w = nn.Parameter(torch.randn(4, 2, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x.flatten(2).transpose(1, 2))
        x = torch.matmul(x.view(*x.shape[:2], 4, 2).transpose(1, 2), self.w)
        return self.fc(x.transpose(1, 2).flatten(2).mean(1))


class Transposed1D(nn.Module):
    """GPT-2's linear layer: the weight lies the other way, and the width is called `nf`."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.zeros(nf))

    def forward(self, x: Tensor) -> Tensor:
        size_out = (*x.size()[:-1], self.nf)
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(size_out)


def conv_1d() -> nn.Module:
    return nn.Sequential(Transposed1D(8, 5), nn.GELU(), Transposed1D(6, 8), nn.GELU(), nn.Linear(6, 3))


class Tied(nn.Module):
    """The output layer is the embedding's table; the numbers are read off the input's signs."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.up, self.down = nn.Embedding(7, 8), nn.Linear(8, 10), nn.Linear(10, 8)
        self.head = nn.Linear(8, 7, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.wte((x[..., 0] > 0).long())
        return self.head(h + self.down(F.gelu(self.up(h))))


class OnlyTied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(7, 8)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.wte((x[..., 0] > 0).long()).tanh(), self.wte.weight)


def shared() -> nn.Module:
    """Two layers hold one weight, and a third holds the first's module."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = F.relu(n.b(F.relu(n.a(x))))
        return pooled(n, n.d(F.relu(n.again(F.relu(n.c(x))))))

    net = Net(body, a=conv(3, 8), b=conv(8, 8), c=conv(8, 8), d=conv(8, 6), fc=nn.Linear(6, 3))
    net.c.weight, net.again = net.b.weight, net.b
    return net


def decoder() -> nn.Module:
    """An autoencoder whose decoder is the encoder's weight, transposed."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = F.relu(n.b(F.relu(n.a(x))))
        return n.fc(F.relu(F.linear(F.linear(x, n.b.weight.t()).relu(), n.a.weight.t())))

    return Net(body, a=nn.Linear(5, 8), b=nn.Linear(8, 6), fc=nn.Linear(5, 3))


def old_weight_norm() -> nn.Module:
    net = plain()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for layer in (net[0], net[4]):
            nn.utils.weight_norm(layer)
    return net


def spectral() -> nn.Module:
    net = plain()
    net[4] = nn.utils.parametrizations.spectral_norm(net[4])
    return net


def frozen() -> nn.Module:
    net = plain()
    net[0].requires_grad_(False)
    net[5].requires_grad_(False)
    return net


class FrozenBatchNorm(nn.Module):
    """torchvision's: statistics and scales are buffers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale.reshape(1, -1, 1, 1) + (self.bias - self.running_mean * scale).reshape(1, -1, 1, 1)


def batch_norms() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.BatchNorm2d(8, track_running_stats=False), nn.ReLU(), conv(8, 6), nn.SyncBatchNorm(6),
        nn.ReLU(), conv(6, 5), nn.BatchNorm2d(5, momentum=None), nn.ReLU(), conv(5, 4),
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True), conv(4, 6), FrozenBatchNorm(6), nn.ReLU(),
        nn.Flatten(), nn.Linear(6 * 64, 3),
    )  # fmt: skip


def bilinear() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x).mean((2, 3))
        return n.fc(F.relu(n.form(n.b(x), n.c(x))))

    return Net(body, a=conv(3, 8), b=nn.Linear(8, 6), c=nn.Linear(8, 5), form=nn.Bilinear(6, 5, 7), fc=nn.Linear(7, 3))


def transposed_depthwise() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.ConvTranspose2d(8, 8, 2, 2, groups=8), nn.ReLU(), nn.ConvTranspose2d(8, 16, 2, groups=8),
        nn.ReLU(), conv(16, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def grouped_image() -> nn.Module:
    """Each colour by itself at first: its filters go in threes."""
    return nn.Sequential(conv(3, 12, groups=3), nn.ReLU(), conv(12, 5), nn.Flatten(), nn.Linear(5 * 64, 3))


def depthwise_1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 6, 3), nn.Conv1d(6, 12, 3, groups=6), nn.BatchNorm1d(12), nn.ReLU(), nn.Conv1d(12, 4, 1),
        nn.ConvTranspose1d(4, 6, 2, 2), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def grouped_3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 8, 3), nn.ReLU(), nn.Conv3d(8, 8, 1, groups=2), nn.BatchNorm3d(8), nn.ConvTranspose3d(8, 5, 2),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(5, 3),
    )  # fmt: skip


def recurrent(cell: type[nn.RNNBase], **options: bool | int) -> nn.Module:
    """Lines through a recurrent network of two layers or directions."""

    def body(n: Net, x: Tensor) -> Tensor:
        out, _ = n.rnn(n.a(x))
        return n.fc(F.relu(n.b(out)).mean(1))

    width = 12 if options.get("bidirectional") else 6
    rnn = cell(8, 6, batch_first=True, **options)
    return Net(body, a=nn.Linear(5, 8), rnn=rnn, b=nn.Linear(width, 7), fc=nn.Linear(7, 3))


LINE = (1, 4, 5)
PLAIN = {"0": 8, "4": 12, "7": 6, "11": 10}
WEIGHT_CASES: dict[str, Case] = {
    "einsum": Case(Einsums, {"a": 8, "w": 6, "v": 5}),
    "matrices": Case(Matrices, {"a": 8, "w": 6, "v": 5}),
    "head_matrices": Case(HeadMatrices, {"w": 5}, {"a": "is invalid for input of size"}),
    "scores": Case(Scores, {"a": 8}, shape=LINE),
    "cells": Case(Cells, {"a": 8, "other": 7}, {"one": "meets a tensor of fixed width in aten.lstm_cell"}, LINE),
    "conv_lstm": Case(ConvLSTM, {"conv": 6}),
    "conv_1d": Case(conv_1d, {"0": 8, "2": 6}, shape=LINE),
    "tied_embedding": Case(Tied, {"wte": 8, "up": 10}, shape=LINE),
    "only_tied": Case(OnlyTied, {"wte": 8}, shape=LINE),
    "shared": Case(shared, {"a": 8, "d": 6}),
    "tied_decoder": Case(decoder, {"a": 8, "b": 6}, shape=LINE),
    "old_weight_norm": Case(old_weight_norm, PLAIN),
    "spectral_norm": Case(spectral, {"7": 6, "11": 10}),
    "frozen_parameters": Case(frozen, PLAIN),
    "batch_norms": Case(batch_norms, {"0": 8, "3": 6, "6": 5, "9": 4, "11": 6}),
    "bilinear": Case(bilinear, {"a": 8, "b": 6, "c": 5, "form": 7}),
    "transposed_depthwise": Case(transposed_depthwise, {"0": 8, "5": 4}),
    "grouped_image": Case(grouped_image, {"0": 4, "2": 5}),
    "depthwise_1d": Case(depthwise_1d, {"0": 6, "4": 4, "5": 6}, shape=(1, 3, 16)),
    "grouped_3d": Case(grouped_3d, {"0": 4, "2": 4, "4": 5}, shape=(1, 2, 5, 5, 5)),
    "lstm": Case(lambda: recurrent(nn.LSTM), {"a": 8, "rnn": 6, "b": 7}, shape=LINE),
    "gru": Case(lambda: recurrent(nn.GRU, num_layers=2), {"a": 8, "rnn": 6, "b": 7}, shape=LINE),
    "rnn": Case(lambda: recurrent(nn.RNN, bidirectional=True), {"a": 8, "rnn": 6, "b": 7}, shape=LINE),
}
