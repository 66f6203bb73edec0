"""What a GGUF file says of a network's sizes, read off its tensors block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autoprune.errors import InputError

__all__ = ["Hyperparameters"]

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Hyperparameters:
    """Sizes of a decoder; lists have an entry a block.

    Attributes:
        blocks: Decoder blocks.
        hidden: Width of the residual stream.
        head: Width of one head.
        heads: Query heads; 0 where a block has no attention.
        key_value_heads: Heads of keys and values.
        feed_forward: Neurons; 0 where a block has no feed-forward part.
        vocabulary: Tokens.
        context: Longest context that the model was trained for.
        epsilon: Of its norms.
        rope_theta: Base of the rotary frequencies.
        rope_factor: By how much positions are stretched; 1 for not at all.
    """

    blocks: int
    hidden: int
    head: int
    heads: tuple[int, ...]
    key_value_heads: tuple[int, ...]
    feed_forward: tuple[int, ...]
    vocabulary: int
    context: int
    epsilon: float
    rope_theta: float
    rope_factor: float

    @classmethod
    def read(cls, config: Any, tensors: Tensors) -> Hyperparameters:
        """Those of a network.

        Args:
            config: Its config, for what no tensor shows.
            tensors: Its state, by the names of `transformers`.

        Raises:
            InputError: If a block's queries are no whole number of heads.
        """
        vocabulary, hidden = tensors["model.embed_tokens.weight"].shape
        blocks = int(config.num_hidden_layers)
        head = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
        rope = getattr(config, "rope_parameters", None) or {}
        return cls(
            blocks=blocks,
            hidden=hidden,
            head=head,
            heads=_heads(tensors, "self_attn.q_proj", blocks, head),
            key_value_heads=_heads(tensors, "self_attn.k_proj", blocks, head),
            feed_forward=_rows(tensors, "mlp.up_proj", blocks),
            vocabulary=vocabulary,
            context=int(config.max_position_embeddings),
            epsilon=float(config.rms_norm_eps),
            rope_theta=float(rope.get("rope_theta", 10000.0)),
            rope_factor=float(rope.get("factor", 1.0)),
        )

    @property
    def uniform(self) -> bool:
        """Whether every block has as many heads and neurons as the others."""
        return all(len(set(sizes)) == 1 for sizes in (self.heads, self.key_value_heads, self.feed_forward))

    def write(self, writer: Any) -> None:
        """Into a file's header; equal entries of a list as one number, which is what stock files have."""
        writer.add_block_count(self.blocks)
        writer.add_context_length(self.context)
        writer.add_embedding_length(self.hidden)
        writer.add_feed_forward_length(_one_or_all(self.feed_forward))
        writer.add_head_count(_one_or_all(self.heads))
        writer.add_head_count_kv(_one_or_all(self.key_value_heads))
        writer.add_key_length(self.head)
        writer.add_value_length(self.head)
        writer.add_rope_dimension_count(self.head)
        writer.add_rope_freq_base(self.rope_theta)
        writer.add_layer_norm_rms_eps(self.epsilon)
        writer.add_vocab_size(self.vocabulary)
        if self.rope_factor != 1.0:
            writer.add_rope_scaling_type("linear")
            writer.add_rope_scaling_factor(self.rope_factor)


def _rows(tensors: Tensors, layer: str, blocks: int) -> tuple[int, ...]:
    """Rows of a layer's weight in every block; 0 where it is not there."""
    names = [f"model.layers.{block}.{layer}.weight" for block in range(blocks)]
    return tuple(int(tensors[name].shape[0]) if name in tensors else 0 for name in names)


def _heads(tensors: Tensors, layer: str, blocks: int, head: int) -> tuple[int, ...]:
    rows = _rows(tensors, layer, blocks)
    for block, count in enumerate(rows):
        if count % head:
            raise InputError(f"block {block}: {layer} has {count} rows, which is no whole number of heads of {head}")
    return tuple(count // head for count in rows)


def _one_or_all(values: Sequence[int]) -> int | list[int]:
    return values[0] if len(set(values)) == 1 else list(values)
