"""Normalised widths: once pruned, the network normalises over the units that are left.

``over`` says what each norm sees: {module: (group, axis)}. The test's own reference is the dense network with
silent readers in which these modules are replaced by ones that see the kept units only (``Kept``).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.nets.plain import Case, Net, conv, pooled


class Kept(nn.Module):
    """A norm that sees some channels only, and gives 7 for the others: their readers must be silent."""

    def __init__(self, norm: nn.Module, axis: int, index: Sequence[int]) -> None:
        super().__init__()
        self.norm, self.axis = copy.deepcopy(norm), axis
        self.register_buffer("index", torch.tensor(index), persistent=False)
        for parameter in self.norm.parameters():
            parameter.data = parameter.data.index_select(0, self.index)
        if hasattr(norm, "normalized_shape"):
            self.norm.normalized_shape = (len(index), *norm.normalized_shape[1:])
        if hasattr(norm, "num_channels"):
            self.norm.num_channels = len(index)

    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, 7.0).index_copy(
            self.axis, self.index, self.norm(x.index_select(self.axis, self.index))
        )


def expanded(kept: Sequence[int], width: int, channels: int, groups: int) -> list[int]:
    """The channels of kept units: a GroupNorm's unit is one channel of each of its groups."""
    return sorted(unit + part * width for unit in kept for part in range(groups if channels != width else 1))


def with_norms(
    silent: nn.Module, case: Case, kept: Mapping[str, Sequence[int]], widths: Mapping[str, int]
) -> nn.Module:
    """The silenced network with its norms over the kept units."""
    modules = dict(silent.named_modules())
    for path, (group, axis) in case.over.items():
        if group not in kept:
            continue
        norm = modules[path]
        parameter = next(norm.parameters())
        groups = getattr(norm, "num_groups", 1)
        index = expanded(kept[group], widths[group], len(parameter), groups)
        parent, _, leaf = path.rpartition(".")
        setattr(modules[parent], leaf, Kept(norm, axis, index))
    return silent


class HandRMS(nn.Module):
    """As transformers writes it: in single precision, with the root of the mean square."""

    def __init__(self, width: int, *, cast: bool = True) -> None:
        super().__init__()
        self.weight, self.cast = nn.Parameter(torch.ones(width)), cast

    def forward(self, x: Tensor) -> Tensor:
        given = x.dtype
        if self.cast:
            x = x.to(torch.float32)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * x.to(given)


class HandLayer(nn.Module):
    """A LayerNorm over the channels of an image, written out (ConvNeXt's, channels first)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class Length(nn.Module):
    """Unit length over the channels, times a scale (SSD's L2Norm)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) * self.weight[:, None, None]


class Response(nn.Module):
    """Global response normalisation (ConvNeXtV2), channels last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, ord=2, dim=(1, 2), keepdim=True)
        return self.weight * (x * (length / (length.mean(-1, keepdim=True) + 1e-6))) + self.bias + x


def whole_groups() -> nn.Module:
    return nn.Sequential(
        conv(3, 12), nn.GroupNorm(4, 12), nn.ReLU(), conv(12, 6), nn.InstanceNorm2d(6, affine=True), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def one_group() -> nn.Module:
    return nn.Sequential(conv(3, 8), nn.GroupNorm(1, 8), nn.ReLU(), conv(8, 6), nn.Flatten(), nn.Linear(6 * 64, 3))


def even_groups() -> nn.Module:
    """Two groups of six: a unit is one channel out of each."""
    return nn.Sequential(conv(3, 12), nn.GroupNorm(2, 12), nn.ReLU(), conv(12, 6), nn.Flatten(), nn.Linear(6 * 64, 3))


def written_groups() -> nn.Module:
    """Six groups of two by the code's own number: whole groups cannot go, so the other reading must be found."""

    def body(n: Net, x: Tensor) -> Tensor:
        return pooled(n, n.b(F.relu(F.group_norm(n.a(x), 6))))

    return Net(body, a=conv(3, 12), b=conv(12, 5), fc=nn.Linear(5, 3))


def layer_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 3))


def layer_norm_image() -> nn.Module:
    return nn.Sequential(conv(3, 8), nn.LayerNorm((8, 8, 8)), nn.ReLU(), conv(8, 4), nn.Flatten(), nn.Linear(256, 3))


def layer_norm_number() -> nn.Module:
    """The normalised width is written as a number: it cannot follow."""

    def body(n: Net, x: Tensor) -> Tensor:
        return n.fc(F.relu(n.b(F.layer_norm(n.a(x), (8,)))))

    return Net(body, a=nn.Linear(5, 8), b=nn.Linear(8, 6), fc=nn.Linear(6, 3))


def pre_norm() -> nn.Module:
    """A residual stream with a LayerNorm before each branch: its width is one decision."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x).flatten(2).transpose(1, 2) + n.place.weight
        for norm, up, down in ((n.n1, n.up1, n.down1), (n.n2, n.up2, n.down2)):
            x = x + down(F.gelu(up(norm(x))))
        return n.fc(n.last(x).mean(1))

    return Net(
        body, stem=nn.Conv2d(3, 8, 4, 4), place=nn.Embedding(4, 8), n1=nn.LayerNorm(8), up1=nn.Linear(8, 12),
        down1=nn.Linear(12, 8), n2=nn.LayerNorm(8), up2=nn.Linear(8, 10), down2=nn.Linear(10, 8), last=nn.LayerNorm(8),
        fc=nn.Linear(8, 3),
    )  # fmt: skip


def lines(norm: nn.Module) -> nn.Module:
    return Net(
        lambda n, x: n.fc(F.silu(n.b(n.norm(n.a(x))))),
        a=nn.Linear(5, 8),
        norm=norm,
        b=nn.Linear(8, 6),
        fc=nn.Linear(6, 3),
    )


def images(norm: nn.Module) -> nn.Module:
    return Net(
        lambda n, x: pooled(n, F.relu(n.b(n.norm(n.a(x))))), a=conv(3, 8), norm=norm, b=conv(8, 6), fc=nn.Linear(6, 3)
    )


def response() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.up(n.a(x).permute(0, 2, 3, 1))
        return n.fc(n.down(n.grn(F.gelu(x))).mean((1, 2)))

    return Net(body, a=conv(3, 6), up=nn.Linear(6, 10), grn=Response(10), down=nn.Linear(10, 5), fc=nn.Linear(5, 3))


def over_concat() -> nn.Module:
    """One norm over two widths side by side."""

    def body(n: Net, x: Tensor) -> Tensor:
        return n.fc(F.relu(n.c(n.norm(torch.cat([n.a(x), n.b(x).tanh()], -1)))))

    return Net(
        body, a=nn.Linear(5, 4), b=nn.Linear(5, 6), norm=nn.LayerNorm(10), c=nn.Linear(10, 7), fc=nn.Linear(7, 3)
    )


def leaking() -> nn.Module:
    """The mean over channels is used for something else: they stay."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x)
        return pooled(n, n.b(x) * torch.sigmoid(x.mean(1, keepdim=True)))

    return Net(body, a=conv(3, 8), b=conv(8, 6), fc=nn.Linear(6, 3))


def by_hand_elsewhere() -> nn.Module:
    """One width is scaled by the length of another."""

    def body(n: Net, x: Tensor) -> Tensor:
        one, other = n.a(x), n.b(x)
        return pooled(n, n.c(other / other.norm(dim=1, keepdim=True)) + n.d(one / other.norm(dim=1, keepdim=True)))

    return Net(body, a=conv(3, 8), b=conv(3, 8), c=conv(8, 6), d=conv(8, 6), fc=nn.Linear(6, 3))


class Deviation(nn.Module):
    """The Annotated Transformer's LayerNorm: a sample's deviation, which a single unit does not have."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        return self.weight * (x - mean) / (deviation + 1e-6) + self.bias


class Standardised(nn.Conv2d):
    """Filters standardised by batch_norm, as norm-free networks do: of a 1x1 kernel one column alone cannot be."""

    def __init__(self, *args: int) -> None:
        super().__init__(*args)
        self.gain = nn.Parameter(torch.ones(self.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(rows, None, None, weight=self.gain, training=True).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def standardised_1x1() -> nn.Module:
    return nn.Sequential(
        Standardised(3, 10, 3), nn.ReLU(), Standardised(10, 8, 1), nn.ReLU(), Standardised(8, 6, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(6 * 16, 3),
    )  # fmt: skip


def even_width() -> nn.Module:
    """Right for even numbers of channels alone, two among them: that is not enough."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x)
        if x.shape[1] % 2:
            raise ValueError("channels come in pairs")
        return pooled(n, n.b(x.relu()))

    return Net(body, a=conv(3, 8), b=conv(8, 6), fc=nn.Linear(6, 3))


class CosineHead(nn.Module):
    """Classes by the angle between features and rows of a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.w = nn.Linear(5, 8), Line(), nn.Parameter(torch.randn(3, 8))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(self.a(x)), F.normalize(self.w, dim=-1))


class Line(nn.Module):
    """Unit length over the last dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) * self.weight


LINE = (1, 4, 5)
NORM_CASES: dict[str, Case] = {
    "group_norm_whole": Case(whole_groups, {"0": 4, "3": 6}),
    "group_norm_one": Case(one_group, {"0": 8, "3": 6}, over={"1": ("0", 1)}),
    "group_norm_even": Case(even_groups, {"0": 6, "3": 6}, over={"1": ("0", 1)}),
    "layer_norm": Case(layer_norm, {"0": 8, "3": 6}, shape=LINE, over={"1": ("0", -1)}),
    "layer_norm_image": Case(layer_norm_image, {"0": 8, "3": 4}, over={"1": ("0", 1)}),
    "layer_norm_number": Case(layer_norm_number, {"b": 6}, {"a": "its forward fails once cut"}, LINE),
    "pre_norm": Case(
        pre_norm, {"stem": 8, "up1": 12, "up2": 10}, over=dict.fromkeys(("n1", "n2", "last"), ("stem", -1))
    ),
    "rms_norm": Case(lambda: lines(nn.RMSNorm(8)), {"a": 8, "b": 6}, shape=LINE, over={"norm": ("a", -1)}),
    "rms_hand": Case(lambda: lines(HandRMS(8)), {"a": 8, "b": 6}, shape=LINE, over={"norm": ("a", -1)}),
    "rms_plain": Case(lambda: lines(HandRMS(8, cast=False)), {"a": 8, "b": 6}, shape=LINE, over={"norm": ("a", -1)}),
    "layer_hand": Case(lambda: images(HandLayer(8)), {"a": 8, "b": 6}, over={"norm": ("a", 1)}),
    "length": Case(lambda: images(Length(8)), {"a": 8, "b": 6}, over={"norm": ("a", 1)}),
    "response": Case(response, {"a": 6, "up": 10, "down": 5}, over={"grn": ("up", -1)}),
    "deviation": Case(lambda: lines(Deviation(8)), {"a": 8, "b": 6}, shape=LINE, over={"norm": ("a", -1)}),
    "cosine_head": Case(CosineHead, {"a": 8}, {"w": "model output"}, LINE, over={"norm": ("a", -1)}),
    "leaking": Case(leaking, {"b": 6}, {"a": "summed over by aten.mean.dim at plain.py:"}),
    "scaled_elsewhere": Case(by_hand_elsewhere, {"a": 8, "c": 6}, {"b": "summed over by aten"}),
}


# Groups that the test's reference has no words for: only their widths, and cut = selected.
def called_norms() -> nn.Module:
    """Norms called as functions, with the module's own numbers."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.b(F.group_norm(n.a(x), n.parts)).mean((2, 3))
        return n.fc(F.layer_norm(x, (n.width,)))

    net = Net(body, a=conv(3, 8), b=conv(8, 6), fc=nn.Linear(6, 3))
    net.parts, net.width = 4, 6
    return net


UNSEEN_CASES: dict[str, Case] = {
    "standardised_1x1": Case(standardised_1x1, {"0": 10, "2": 8, "4": 6}),
    "even_width": Case(even_width, {"b": 6}, {"a": "its forward fails once cut"}),
    "written_groups": Case(written_groups, {"a": 2, "b": 5}),
    "called_norms": Case(called_norms, {"a": 4, "b": 6}),
    "over_concat": Case(over_concat, {"a": 4, "b": 6, "c": 7}, shape=LINE),
}
