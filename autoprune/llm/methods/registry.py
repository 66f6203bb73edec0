"""The methods by name."""

from __future__ import annotations

from autoprune.foundations.registry import Registry
from autoprune.llm.methods.base import Method

__all__ = ["METHODS"]

_HERE = "autoprune.llm.methods."

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "magnitude": _HERE + "one_shot:MagnitudeMethod",
        "wanda": _HERE + "one_shot:WandaMethod",
        "sparsegpt": _HERE + "one_shot:SparseGptMethod",
        "llm-pruner": _HERE + "structured:LlmPrunerMethod",
        "depth": _HERE + "structured:DepthMethod",
        "ffn": _HERE + "structured:FeedForwardMethod",
        "heads": _HERE + "structured:HeadsMethod",
        "hidden": _HERE + "structured:HiddenMethod",
        "vocabulary": _HERE + "vocabulary:VocabularyMethod",
    },
    "autoprune.llm_methods",
)
