"""Activation checkpointing of the decoder blocks: what lies inside a block is computed again for the backward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from autoprune.llm.blocks.stack import DecoderStack

__all__ = ["recomputed"]


@contextlib.contextmanager
def recomputed(stack: DecoderStack) -> Iterator[None]:
    """Meanwhile the blocks keep their inputs only; gradients stay the same."""
    for block in stack.blocks:
        block.__dict__["forward"] = _recomputing(block)
    try:
        yield
    finally:
        for block in stack.blocks:
            block.__dict__.pop("forward", None)


def _recomputing(block: nn.Module) -> Callable[..., Any]:
    own = block.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(own, *args, use_reentrant=False, **kwargs)

    return forward
