"""Options of a method; no heavy import, for the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autoprune.errors import InputError

__all__ = ["MethodOptions", "refuse_protection"]


@dataclass(frozen=True)
class MethodOptions:
    """What is taken away, and how.

    Attributes:
        ratio: As the user wrote it: `50%`, and of zeros `2:4`.
        sequential: One-shot sparsity: collect inputs anew within a block when the layers before are pruned.
        owl: One-shot sparsity: blocks with more outliers keep more.
        damping: SparseGPT: added to the diagonal of the second moments, relative to its mean; None for the default.
        taylor: LLM-Pruner: first-order importance, or mixed with the second.
        protect: LLM-Pruner: blocks at the beginning and at the end that stay whole, such as `4,2`; "" for none.
        bits: SparseGPT: weights are rounded to so many in the same pass; None for not at all.
    """

    ratio: str
    sequential: bool = False
    owl: bool = False
    damping: float | None = None
    taylor: Literal["first", "mixed"] = "mixed"
    protect: str = ""
    bits: int | None = None


def refuse_protection(options: MethodOptions, method: str) -> None:
    """Refuse protected blocks where a method has none.

    Raises:
        InputError: If some were asked for.
    """
    if options.protect:
        raise InputError(f"--protect is of llm-pruner; {method} has none")
