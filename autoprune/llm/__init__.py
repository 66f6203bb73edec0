"""Language models: loaded from files, pruned, judged by their perplexity on two domains of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.foundations.lazy import lazy_names

if TYPE_CHECKING:
    from autoprune.llm.api import compress, evaluate, prune
    from autoprune.llm.models.base import LanguageModel

__all__ = ["LanguageModel", "compress", "evaluate", "prune"]

_HOMES = {
    "LanguageModel": "autoprune.llm.models.base",
    "compress": "autoprune.llm.api",
    "evaluate": "autoprune.llm.api",
    "prune": "autoprune.llm.api",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
