"""Fewer tokens: those that a corpus needs, with a tokenizer that still writes any text."""

from autoprune.llm.vocabulary.choose import Choice, choose_tokens
from autoprune.llm.vocabulary.network import with_tokens
from autoprune.llm.vocabulary.rebuild import rebuilt

__all__ = ["Choice", "choose_tokens", "rebuilt", "with_tokens"]
