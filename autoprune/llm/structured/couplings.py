"""A language model's couplings: which units go together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from autoprune.errors import InputError, UnsupportedModelError
from autoprune.graph import Analysis, Group, analyse
from autoprune.llm.blocks.stack import DecoderStack
from autoprune.models.pretrained import is_pretrained

__all__ = ["block_of", "couplings", "groups_of_kind", "uncached"]

_EXAMPLE = (2, 8)  # batch, tokens


@contextmanager
def uncached(network: nn.Module) -> Iterator[None]:
    """Without a cache of keys and values, whose growth no coupling can be read off."""
    config: Any = network.config
    before = config.use_cache
    config.use_cache = False
    try:
        yield
    finally:
        config.use_cache = before


def couplings(network: nn.Module) -> Analysis:
    """What may be pruned in a language model, each group proven.

    Raises:
        UnsupportedModelError: If it is no model of `transformers`, or cannot be traced.
    """
    if not is_pretrained(network):
        raise UnsupportedModelError(f"{type(network).__name__} is no model of transformers")
    config: Any = network.config
    ids = torch.arange(_EXAMPLE[0] * _EXAMPLE[1]) % (int(config.vocab_size) - 1) + 1
    with uncached(network):
        return analyse(network, (ids.reshape(_EXAMPLE),), blocks=False)


def groups_of_kind(analysis: Analysis, kind: str, what: str) -> list[Group]:
    """The groups of a kind, all of one width, so that one number in a config can say it.

    Args:
        analysis: Of a language model.
        kind: "ffn", "heads" or "embedding".
        what: What they are, for the message.

    Raises:
        UnsupportedModelError: If there is none; a reason why something is frozen is named if there is one.
        InputError: If they are of several widths.
    """
    groups = [group for group in analysis.groups if group.kind == kind]
    if not groups:
        frozen = next((f"{name}: {why}" for name, why in analysis.frozen.items() if "embed" not in name), "")
        raise UnsupportedModelError(f"no {what} can be pruned in this model" + (f" ({frozen})" if frozen else ""))
    widths = sorted({group.width for group in groups})
    if len(widths) > 1:
        raise InputError(f"the blocks differ in {what} ({widths}), and one number in a config cannot say so")
    return groups


def block_of(stack: DecoderStack, group: Group) -> int:
    """The number of the block that a coupling lies in.

    Raises:
        UnsupportedModelError: If it lies in none or in several.
    """
    found = {
        place
        for place in range(len(stack))
        for member in group.members
        if member.tensor.startswith(f"{stack.block_name(place)}.")
    }
    if len(found) != 1:
        raise UnsupportedModelError(f"{group.name} lies in {len(found)} blocks of {stack.path}; it has to be one")
    return found.pop()
