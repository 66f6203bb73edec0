"""One small net a residual pattern, each with the blocks that a person finds in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.nets.plain import Net, conv, pooled


class Basic(nn.Module):
    """relu(x + f(x)), a post-activation block."""

    def __init__(self, width: int, inner: int, act: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(width, inner, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv(inner, width, bias=False), nn.BatchNorm2d(width)
        self.act = nn.ReLU() if act is None else act

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(self.bn1(self.conv1(x)))
        return self.act(self.bn2(self.conv2(out)) + x)


class Bottleneck(nn.Module):
    """As torchvision writes it: in-place ReLU, in-place sum."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv(inner, inner, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


class PreActivation(nn.Module):
    """x + f(x), the sum left as it is."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(width), conv(width, inner)
        self.bn2, self.conv2 = nn.BatchNorm2d(inner), conv(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.bn1(x)))
        return x + self.conv2(F.relu(self.bn2(out)))


class Inverted(nn.Module):
    """MobileNetV2's, with a squeeze-excite gate inside."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.expand, self.bn1 = nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.depthwise, self.bn2 = conv(inner, inner, groups=inner, bias=False), nn.BatchNorm2d(inner)
        self.down, self.up = nn.Conv2d(inner, 3, 1), nn.Conv2d(3, inner, 1)
        self.project, self.bn3 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu6(self.bn2(self.depthwise(F.relu6(self.bn1(self.expand(x))))))
        gate = torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(out, 1)))))
        return x + self.bn3(self.project(out * gate))


class DropPath(nn.Module):
    """Stochastic depth: a factor a sample in training, nothing in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.bernoulli(torch.full((len(x), 1, 1), 0.8)) / 0.8 if self.training else x


class Scaled(nn.Module):
    """A pre-norm transformer layer with layer scales of its own and stochastic depth: two branches in one module."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width), Perceptron(width, hidden)
        self.gamma1, self.gamma2 = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))
        self.drop = DropPath()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.gamma1 * self.attn(self.norm1(x))[0])
        return x + self.drop(self.gamma2 * self.mlp(self.norm2(x)))


class Attention(nn.Module):
    """Separate q, k, v; returns a tuple, as many do."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, None]:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2)), None


class Perceptron(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class PostNorm(nn.Module):
    """norm(x + f(x)), BERT's; the mask is a keyword, the sums are this module's."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attn, self.norm1 = Attention(width, heads), nn.LayerNorm(width)
        self.inner, self.outer, self.norm2 = nn.Linear(width, hidden), nn.Linear(hidden, width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        attended, _ = self.attn(x, mask=None)
        x = self.norm1(x + self.dropout(attended))
        return self.norm2(self.dropout(self.outer(F.gelu(self.inner(x)))) + x)


def stacked(*blocks: nn.Module, relu: bool = True) -> nn.Module:
    """A stem of 8 channels, blocks, a head; for images (1, 3, 8, 8)."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.bn(n.stem(x))
        return pooled(n, n.blocks(F.relu(x) if relu else x))

    return Net(body, stem=conv(3, 8), bn=nn.BatchNorm2d(8), blocks=nn.Sequential(*blocks), fc=nn.Linear(8, 4))


def sequence(*blocks: nn.Module) -> nn.Module:
    """Patches of 8 features, blocks, a head; for images (1, 3, 8, 8)."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.blocks(n.stem(x).flatten(2).transpose(1, 2))
        return n.fc(n.norm(x).mean(1))

    stem = nn.Conv2d(3, 8, 4, 4)
    return Net(body, stem=stem, blocks=nn.Sequential(*blocks), norm=nn.LayerNorm(8), fc=nn.Linear(8, 4))


def loose() -> nn.Module:
    """Sums in the network's own forward."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x)
        x = x + n.conv2(F.relu(n.conv1(x)))
        x += 0.5 * n.conv4(F.gelu(n.conv3(x)))
        return pooled(n, x)

    return Net(
        body, stem=conv(3, 8), conv1=conv(8, 5), conv2=conv(5, 8), conv3=conv(8, 7), conv4=conv(7, 8),
        fc=nn.Linear(8, 4),
    )  # fmt: skip


def nested() -> nn.Module:
    """A block within a block."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x)
        return pooled(n, x + n.inner(x))

    inner = nn.Sequential(conv(8, 6), PreActivation(6, 5), conv(6, 8))
    return Net(body, stem=conv(3, 8), inner=inner, fc=nn.Linear(8, 4))


def parallel() -> nn.Module:
    """GPT-J's: attention and perceptron read the same norm, and are added one after the other."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x).flatten(2).transpose(1, 2)
        y = n.norm(x)
        return n.fc((n.attn(y)[0] + x + n.mlp(y)).mean(1))

    return Net(
        body, stem=nn.Conv2d(3, 8, 4, 4), norm=nn.LayerNorm(8), attn=Attention(8, 2), mlp=Perceptron(8, 12),
        fc=nn.Linear(8, 4),
    )  # fmt: skip


def twice() -> nn.Module:
    """One block that runs two times: half of it cannot be dropped."""
    block = PreActivation(8, 5)
    return stacked(block, block)


def shared() -> nn.Module:
    """Two blocks that share one weight."""
    one, other = PreActivation(8, 5), PreActivation(8, 5)
    other.conv1.weight = one.conv1.weight
    return stacked(one, other)


def watched() -> nn.Module:
    """The branch is read by somebody else, too."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x)
        y = n.conv2(F.relu(n.conv1(x)))
        return n.fc((x + y).mean((2, 3))) + n.aux(y.mean((2, 3)))

    layers = {"stem": conv(3, 8), "conv1": conv(8, 5), "conv2": conv(5, 8)}
    return Net(body, **layers, fc=nn.Linear(8, 4), aux=nn.Linear(8, 4))


def spoiling() -> nn.Module:
    """The branch begins by changing its own input in place, which the shortcut then carries."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x)
        y = n.conv2(torch.tanh(n.conv1(n.relu(x))))
        return pooled(n, x + y)

    layers = {"stem": conv(3, 8), "relu": nn.ReLU(inplace=True), "conv1": conv(8, 5), "conv2": conv(5, 8)}
    return Net(body, **layers, fc=nn.Linear(8, 4))


def gated() -> nn.Module:
    """Halves of one layer in the network's own forward: the input passed on would not fit, zeros of its width do."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x)
        one, other = n.conv1(x).chunk(2, 1)
        return pooled(n, x + n.conv2(one * torch.sigmoid(other)))

    return Net(body, stem=conv(3, 8), conv1=conv(8, 10), conv2=conv(5, 8), fc=nn.Linear(8, 4))


class SharedGate(nn.Module):
    """NAFNet's: two branches that share one gate without parameters, a gate over the channels, and scales."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.a, self.b = nn.BatchNorm2d(width), nn.Conv2d(width, 2 * width, 1), nn.Conv2d(width, width, 1)
        self.attend = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1))
        self.c, self.d, self.gate = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(width, width, 1), nn.GLU(1)
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        z = self.gate(self.a(self.norm(x)))
        y = x + self.b(z * self.attend(z)) * self.beta
        return y + self.d(self.gate(self.c(y)))


class Refined(nn.Module):
    """SpyNet's: a flow of two channels is refined by what a wider tensor tells."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.flow = conv(3, 6), nn.Conv2d(3, 2, 1)
        self.first, self.second = (nn.Sequential(conv(8, 7), nn.ReLU(), conv(7, 2)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        seen, flow = F.relu(self.stem(x)), self.flow(x)
        for level in (self.first, self.second):
            flow = flow + level(torch.cat([seen, flow], 1))
        return flow


def projected() -> nn.Module:
    """Both sides are layers: neither is x itself."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = F.relu(n.stem(x))
        return pooled(n, n.conv2(F.relu(n.conv1(x))) + n.down(x))

    return Net(body, stem=conv(3, 8), conv1=conv(8, 5), conv2=conv(5, 8), down=nn.Conv2d(8, 8, 1), fc=nn.Linear(8, 4))


# The net, and the blocks expected in it: name -> what stands in for its modules.
DROPPABLE = {
    "basic": (lambda: stacked(Basic(8, 5), Basic(8, 6)), {"blocks.0": "pass", "blocks.1": "pass"}),
    "basic, any sign": (
        lambda: stacked(Basic(8, 5), Basic(8, 6), relu=False), {"blocks.0": "relu", "blocks.1": "pass"},
    ),
    "relu6": (lambda: stacked(nn.ReLU6(), Basic(8, 5, nn.ReLU6())), {"blocks.1": "pass"}),
    "gelu behind the sum": (lambda: stacked(Basic(8, 5, nn.GELU())), {"blocks.0.conv1:block": "pass pass pass zero"}),
    "bottleneck": (lambda: stacked(Bottleneck(8, 3), Bottleneck(8, 4)), {"blocks.0": "pass", "blocks.1": "pass"}),
    "pre-activation": (lambda: stacked(PreActivation(8, 5), nn.ReLU()), {"blocks.0": "pass"}),
    "inverted": (lambda: stacked(Inverted(8, 12)), {"blocks.0": "pass"}),
    "pre-norm": (lambda: sequence(Scaled(8, 2, 12)), {"blocks.0.attn": "pass zero", "blocks.0.mlp": "pass zero"}),
    "post-norm": (lambda: sequence(PostNorm(8, 2, 12)), {"blocks.0.attn": "zero", "blocks.0.inner:block": "pass zero"}),
    "torch's layer": (
        lambda: sequence(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True)),
        {"blocks.0.self_attn:block": "pass pass zero", "blocks.0.linear1:block": "pass pass pass pass zero"},
    ),
    "loose": (loose, {"conv2:block": "pass zero", "conv4:block": "pass zero"}),
    "spoiling": (spoiling, {"conv2:block": "pass zero"}),
    "nested": (nested, {"inner": "zero", "inner.1": "pass"}),
    "parallel": (parallel, {"attn": "zero", "mlp": "zero"}),
    "gated": (gated, {"conv1:block": "zero zero"}),
    "shared gate": (
        lambda: stacked(SharedGate(8)), {"blocks.0.a:block": "zero zero zero zero", "blocks.0.c:block": "zero zero"},
    ),
    "refined": (Refined, {"first": "zero", "second": "zero"}),
}  # fmt: skip

# The net, and why a branch in it is none; None where nothing looks like a block.
SOLID = {
    "twice": (twice, "elsewhere"),
    "shared": (shared, "elsewhere"),
    "watched": (watched, None),
    "projected": (projected, None),
}
