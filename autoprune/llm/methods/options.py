"""Options of a method; no heavy import, for the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["MethodOptions"]


@dataclass(frozen=True)
class MethodOptions:
    """What is taken away, and how.

    Attributes:
        ratio: As the user wrote it: `50%`, and of zeros `2:4`.
        sequential: One-shot sparsity: collect inputs anew within a block when the layers before are pruned.
        owl: One-shot sparsity: blocks with more outliers keep more.
        damping: SparseGPT: added to the diagonal of the second moments, relative to its mean; None for the default.
        taylor: LLM-Pruner: first-order importance, or mixed with the second.
    """

    ratio: str
    sequential: bool = False
    owl: bool = False
    damping: float | None = None
    taylor: Literal["first", "mixed"] = "mixed"
