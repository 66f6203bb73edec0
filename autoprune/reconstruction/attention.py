"""What the projections of `nn.MultiheadAttention` are multiplied with, which runs none of them as a layer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["projections"]


def projections(
    attention: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[str, list[Tensor]]]:
    """The projections in the order in which they run.

    What the output projection reads is computed when it is asked for: with the other projections as they are by then.

    Args:
        attention: In evaluation mode; its output projection is exchanged for a while.
        args: Positional arguments of a call.
        kwargs: The others.

    Yields:
        Name of a weight within ``attention`` -> the input, (..., in), of each of its equal parts of rows.
    """
    given = inspect.signature(attention.forward).bind(*args, **kwargs).arguments
    inputs = [given[name].detach() for name in ("query", "key", "value")]
    if attention.in_proj_weight is not None:
        yield "in_proj_weight", inputs
    else:
        yield from ((f"{part}_proj_weight", [one]) for part, one in zip("qkv", inputs, strict=True))
    yield "out_proj.weight", [_context(attention, args, kwargs)]


def _context(attention: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The heads' outputs side by side, (..., embed_dim)."""
    own = attention.out_proj
    plain = type(own)(own.in_features, own.out_features, bias=True, device=own.weight.device, dtype=own.weight.dtype)
    torch.nn.init.eye_(plain.weight)
    torch.nn.init.zeros_(plain.bias)
    attention.out_proj = plain.requires_grad_(False)
    try:
        context: Tensor = attention.forward(*args, **kwargs)[0]
    finally:
        attention.out_proj = own
    return context.detach()
