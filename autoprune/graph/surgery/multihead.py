"""``nn.MultiheadAttention`` with fewer heads, or another width, than its own forward can do."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PrunedAttention", "fit", "multihead"]


class PrunedAttention(nn.MultiheadAttention):
    """What a cut ``nn.MultiheadAttention`` becomes: torch's wants ``num_heads * head_dim`` to be the input's width.

    Parameters, their names and the head size stay; ``in_proj_weight`` is (3 * num_heads * head_dim, width).
    """

    @property
    def _qkv_same_embed_dim(self) -> bool:
        """False, for the encoder layers that would hand the weights to torch's fused kernel."""
        return False

    @_qkv_same_embed_dim.setter
    def _qkv_same_embed_dim(self, value: bool) -> None:
        """Whatever torch's own constructor says."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As ``nn.MultiheadAttention``: (batch, length, width), or length first without ``batch_first``."""
        batched = query.dim() == 3
        given = [t if batched else t.unsqueeze(0) for t in (query, key, value)]
        if batched and not self.batch_first:
            given = [t.transpose(0, 1) for t in given]
        q, k, v = (self._heads(t, *self._projection(i)) for i, t in enumerate(given))
        mask = _merged(key_padding_mask, attn_mask, self.num_heads, q)
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
        weights = (scores if mask is None else scores + mask).softmax(-1)
        mixed = F.dropout(weights, self.dropout, self.training) @ v
        output = F.linear(mixed.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)
        if batched and not self.batch_first:
            output = output.transpose(0, 1)
        shown = weights.mean(1) if average_attn_weights else weights
        if not batched:
            output, shown = output.squeeze(0), shown.squeeze(0)
        return output, shown if need_weights else None

    def _projection(self, place: int) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of queries (0), keys (1) or values (2)."""
        bias = None if self.in_proj_bias is None else self.in_proj_bias.chunk(3)[place]
        if self.in_proj_weight is not None:
            return self.in_proj_weight.chunk(3)[place], bias
        return (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[place], bias

    def _heads(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(batch, heads, length, head size)."""
        return F.linear(x, weight, bias).view(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)


def _merged(padding: Tensor | None, mask: Tensor | None, heads: int, q: Tensor) -> Tensor | None:
    """Both masks as one to be added to the scores, broadcastable to (batch, heads, length, source length)."""
    total: Tensor | None = None
    if mask is not None:
        added = _added(mask, q)
        total = added.view(-1, heads, *added.shape[1:]) if added.dim() == 3 else added
    if padding is not None:
        added = _added(padding, q)
        added = added[:, None, None, :] if added.dim() == 2 else added
        total = added if total is None else total + added
    return total


def _added(mask: Tensor, q: Tensor) -> Tensor:
    if mask.dtype is not torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill(mask, -math.inf)


def multihead(modules: Iterable[nn.Module]) -> list[nn.MultiheadAttention]:
    """The attention modules whose class may have to change with their widths."""
    kinds = (nn.MultiheadAttention, PrunedAttention)
    found = [m for m in modules if isinstance(m, nn.MultiheadAttention) and type(m) in kinds]
    return [m for m in found if m.bias_k is None and not m.add_zero_attn]


def fit(modules: Iterable[nn.MultiheadAttention]) -> None:
    """Give attention modules the class that can run what their parameters are now."""
    for module in modules:
        own: Any = module.in_proj_weight if module.in_proj_weight is not None else module.q_proj_weight
        width, inner = own.shape[1], module.num_heads * module.head_dim
        module.embed_dim = width
        wanted = nn.MultiheadAttention if width == inner == module.out_proj.weight.shape[0] else PrunedAttention
        if type(module) is not wanted:
            module.__class__ = wanted
