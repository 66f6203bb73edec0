"""A network's tensors under the names, and in the order of rows, that llama.cpp expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from autoprune.errors import InputError
from autoprune.llm.gguf.architectures import Architecture
from autoprune.llm.gguf.formats import gguf_package
from autoprune.llm.gguf.hyperparameters import Hyperparameters

__all__ = ["Named", "interleave", "named_tensors"]


@dataclass(frozen=True)
class Named:
    """One tensor on its way into a file.

    Attributes:
        name: Its name there.
        tensor: What it is here.
        heads: How many heads its rows are, where they change their order; 0 where they do not.
    """

    name: str
    tensor: torch.Tensor
    heads: int = 0

    def values(self) -> torch.Tensor:
        """The values in the file's order, f32."""
        values = self.tensor.detach().float().cpu()
        return interleave(values, self.heads) if self.heads else values


def interleave(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys for a rotary embedding of neighbours.

    Args:
        rows: (heads * size, ...), in the order of `transformers`, which turns row i of a head with row i + size / 2.
        heads: How many heads they are.

    Returns:
        The same rows: those that are turned together follow each other.

    >>> interleave(torch.arange(8), 2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.transpose(1, 2).reshape(rows.shape)


def named_tensors(
    tensors: Mapping[str, torch.Tensor], architecture: Architecture, name: str, sizes: Hyperparameters, tied: bool
) -> list[Named]:
    """All tensors of a network.

    Args:
        tensors: Its state, by the names of `transformers`.
        architecture: What llama.cpp computes.
        name: Under which of its names.
        sizes: The network's.
        tied: Whether the output layer is the embedding, which is then stored once.

    Raises:
        InputError: If the architecture has no place for a tensor.
    """
    gguf = gguf_package()
    kind = next(each for each, known in gguf.MODEL_ARCH_NAMES.items() if known == name)
    places = gguf.get_tensor_name_map(kind, sizes.blocks)
    found = []
    for own, tensor in tensors.items():
        if tied and own == "lm_head.weight":
            continue
        there = places.get_name(own, try_suffixes=(".weight", ".bias"))
        if there is None:
            raise InputError(f"llama.cpp's architecture {name!r} has no place for {own}")
        found.append(Named(there, tensor, _turned(own, sizes) if architecture.interleaved else 0))
    return found


def _turned(own: str, sizes: Hyperparameters) -> int:
    """How many heads a tensor's rows are if they are turned by position."""
    for layer, heads in (("self_attn.q_proj", sizes.heads), ("self_attn.k_proj", sizes.key_value_heads)):
        if f".{layer}." in own:
            return heads[int(own.split(".")[2])]
    return 0
