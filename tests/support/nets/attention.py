"""Attention in the ways people write it, each with the decisions that a person finds: name -> (kind, units)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS, SIZE, LENGTH = 24, 4, 6, 9


@dataclass(frozen=True)
class AttentionCase:
    """An attention layer, the decisions expected in it, and (part of) the reasons expected."""

    build: Callable[[], nn.Module]
    groups: Mapping[str, tuple[str, int]]
    frozen: Mapping[str, str] = field(default_factory=dict)
    follows: Mapping[str, str] = field(default_factory=dict)  # attribute -> the group that it counts


class Around(nn.Module):
    """Something before and behind, so that the layer's own widths are no outputs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.a, self.layer, self.z = nn.Linear(5, WIDTH), layer, nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, 5) to (batch, length, 3)."""
        h = torch.tanh(self.a(x))
        return self.z(h + self.layer(h))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(batch, heads, length, size) each; softmax by hand, with a scale that no width sets."""
    return (q @ k.transpose(-2, -1) * 0.4).softmax(-1) @ v


class Separate(nn.Module):
    """Three layers; heads and their size out of attributes, the joined size out of a third."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_size, self.all_heads = HEADS, SIZE, HEADS * SIZE
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """As ViT does it."""
        q, k, v = (
            layer(x).view(*x.shape[:2], self.num_heads, self.head_size).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).reshape(*x.shape[:2], self.all_heads))


class Fused(nn.Module):
    """One layer for queries, keys and values, taken apart in one of four ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.num_heads, self.size, self.split_size = way, HEADS, SIZE, WIDTH
        self.qkv, self.o = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width)."""
        b, t, _ = x.shape
        y = self.qkv(x)
        if self.way == "three":
            q, k, v = y.reshape(b, t, 3, self.num_heads, self.size).permute(2, 0, 3, 1, 4).unbind(0)
        elif self.way == "heads":
            q, k, v = y.view(b, t, self.num_heads, -1).transpose(1, 2).chunk(3, dim=-1)
        else:
            parts = y.split(self.split_size, dim=-1) if self.way == "split" else y.chunk(3, dim=-1)
            q, k, v = (part.view(b, t, -1, self.size).transpose(1, 2) for part in parts)
        return self.o(attend(q, k, v).transpose(1, 2).flatten(2))


class Shared(nn.Module):
    """Two heads of keys and values for four of queries."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.size, self.repeats = way, SIZE, 2
        self.q, self.o = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.k, self.v = nn.Linear(WIDTH, WIDTH // 2), nn.Linear(WIDTH, WIDTH // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width)."""
        b, t, _ = x.shape
        q, k, v = (layer(x).view(b, t, -1, self.size).transpose(1, 2) for layer in (self.q, self.k, self.v))
        if self.way == "expand":
            k, v = (h[:, :, None].expand(b, h.shape[1], self.repeats, t, self.size).flatten(1, 2) for h in (k, v))
        elif self.way == "interleave":
            k, v = (h.repeat_interleave(self.repeats, dim=1) for h in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.way == "operator")
        return self.o(y.transpose(1, 2).reshape(b, t, -1))


class Biased(nn.Module):
    """Windows of a rolled sequence, with a table of position biases for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.window = HEADS, 3
        self.qkv, self.o = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.table = nn.Parameter(torch.randn(2 * self.window - 1, HEADS))
        places = torch.arange(self.window)
        self.register_buffer("index", places[:, None] - places[None] + self.window - 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width)."""
        b, t, _ = x.shape
        y = torch.roll(x, 1, 1).view(b * t // self.window, self.window, -1)
        parts = self.qkv(y).view(*y.shape[:2], 3, self.num_heads, SIZE).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.view(-1)].view(self.window, self.window, -1).permute(2, 0, 1)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=bias.unsqueeze(0))
        return torch.roll(self.o(mixed.transpose(1, 2).flatten(2)).view(b, t, -1), -1, 1)


class OneHead(nn.Module):
    """No heads: what queries and keys are multiplied over, and what values hand on."""

    def __init__(self, scaled: bool) -> None:
        super().__init__()
        self.scaled = scaled
        self.q, self.k, self.v = nn.Linear(WIDTH, 7), nn.Linear(WIDTH, 7), nn.Linear(WIDTH, 10)
        self.o = nn.Linear(10, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width)."""
        scores = torch.einsum("btc,bsc->bts", self.q(x), self.k(x))
        scores = scores / math.sqrt(self.q.out_features) if self.scaled else scores
        return self.o(torch.bmm(scores.softmax(-1), self.v(x)))


class Written(nn.Module):
    """Heads and their size as bare numbers, or the size as what the width leaves for each head."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.num_heads = way, HEADS
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width)."""
        b, t, c = x.shape
        heads, size = (4, 6) if self.way == "numbers" else (self.num_heads, c // self.num_heads)
        q, k, v = (f(x).view(b, t, heads, size).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.o(attend(q, k, v).transpose(1, 2).reshape(b, t, -1))


class Torch(nn.Module):
    """torch's own module."""

    def __init__(self, **options: bool | int) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(WIDTH, HEADS, **options)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width)."""
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        if self.mha.batch_first:
            return self.mha(x, x, x, attn_mask=mask, need_weights=False)[0]
        y = x.transpose(0, 1)
        return self.mha(y, y, y, key_padding_mask=torch.zeros(x.shape[:2], dtype=torch.bool))[0].transpose(0, 1)


def _heads(name: str, units: int = HEADS) -> dict[str, tuple[str, int]]:
    return {"a": ("channels", WIDTH), f"layer.{name}": ("heads", units)}


ATTENTION_CASES: dict[str, AttentionCase] = {
    "separate": AttentionCase(
        lambda: Around(Separate()), _heads("q"), follows={"num_heads": "layer.q", "all_heads": "layer.q"}
    ),
    "fused_three": AttentionCase(lambda: Around(Fused("three")), _heads("qkv"), follows={"num_heads": "layer.qkv"}),
    "fused_heads": AttentionCase(lambda: Around(Fused("heads")), _heads("qkv"), follows={"num_heads": "layer.qkv"}),
    "fused_split": AttentionCase(lambda: Around(Fused("split")), _heads("qkv"), follows={"split_size": "layer.qkv"}),
    "fused_chunk": AttentionCase(lambda: Around(Fused("chunk")), _heads("qkv")),
    "shared_expand": AttentionCase(lambda: Around(Shared("expand")), _heads("q", 2)),
    "shared_interleave": AttentionCase(lambda: Around(Shared("interleave")), _heads("q", 2)),
    "shared_operator": AttentionCase(lambda: Around(Shared("operator")), _heads("q", 2)),
    "biased": AttentionCase(lambda: Around(Biased()), _heads("qkv"), follows={"num_heads": "layer.qkv"}),
    "one_head": AttentionCase(
        lambda: Around(OneHead(False)),
        {"a": ("channels", WIDTH), "layer.q": ("head_size", 7), "layer.v": ("head_size", 10)},
    ),
    "one_head_scaled": AttentionCase(
        lambda: Around(OneHead(True)),
        {"a": ("channels", WIDTH), "layer.v": ("head_size", 10)},
        {"layer.q": "the cut network differs", "layer.k": "the cut network differs"},
    ),
    "numbers": AttentionCase(
        lambda: Around(Written("numbers")),
        {"a": ("channels", WIDTH)},
        {"layer.q": "invalid for input of size"},
    ),
    "leftover": AttentionCase(
        lambda: Around(Written("leftover")),
        {},
        {"a": "is invalid for input of size", "layer.v": " at attention.py:"},
    ),
    "torch": AttentionCase(lambda: Around(Torch(batch_first=True)), _heads("mha")),
    "torch_length_first": AttentionCase(lambda: Around(Torch(bias=False)), _heads("mha")),
}
