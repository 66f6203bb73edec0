"""A language model: a network of `transformers`, the tokenizer that it reads with, and where it is from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

__all__ = ["LanguageModel"]


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model.

    Attributes:
        network: Called with token ids, int64 (batch, tokens), it returns `.logits`, (batch, tokens, vocabulary).
        tokenizer: Of `transformers`; encodes and decodes text.
        origin: Where it was loaded from, as the user wrote it.
    """

    network: nn.Module
    tokenizer: Any
    origin: str

    @property
    def config(self) -> Any:
        """The network's configuration."""
        return self.network.config

    @property
    def context(self) -> int | None:
        """The most tokens that the network was made for; None where its configuration does not say."""
        found = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return found if isinstance(found, int) else None

    def with_network(self, network: nn.Module) -> LanguageModel:
        """Another network that reads with the same tokenizer."""
        return replace(self, network=network)
