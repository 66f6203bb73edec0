"""What a language model may cost, as users write it. No heavy import, for the command line reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from autoprune.cost.budget import Budget
from autoprune.errors import InputError
from autoprune.foundations.files import shortened

__all__ = ["BUDGETS", "BY_BLOCK", "DECISIONS", "NM", "LanguageBudget", "Phase", "SearchPlan", "ZerosPlan"]

_METRICS = {
    "params": "params",
    "nonzeros": "params",
    "bytes": "bytes",
    "prefill_latency": "latency",
    "decode_latency": "latency",
}

Phase = Literal["prefill", "decode"]
"""What latencies are of: reading a prompt, or writing a token behind it."""

_LARGEST = 1024  # M of a group

BUDGETS = tuple(_METRICS)
"""The settings that name a budget; a run has one."""

DECISIONS = ("blocks", "ffn", "hidden", "heads", "queries")
"""What a search may change: decoder blocks, neurons of each feed-forward part, channels of the residual stream, heads
of keys and values, query heads on each of them."""

BY_BLOCK = {"ffn-by-block": "ffn", "heads-by-block": "heads"}
"""In place of a decision: the neurons, or the heads of keys and values, of each block are a decision of their own."""

NM = "nm"
"""How many weights of a group of neighbours stay in the linear layers of each block; a decision for each."""


@dataclass(frozen=True)
class LanguageBudget:
    """A limit.

    Attributes:
        kind: One of `BUDGETS`.
        amount: A share of the dense model's cost, or parameters (of `nonzeros`, those that may be other than zero),
            bytes, or milliseconds (of decoding, a token).
    """

    kind: str
    amount: Budget

    @classmethod
    def of(cls, given: Mapping[str, str | None]) -> LanguageBudget:
        """The one budget among some settings.

        Raises:
            InputError: If there is none, there are several, or it cannot be read.
        """
        named = {kind: text for kind in BUDGETS if (text := given.get(kind)) is not None}
        if len(named) != 1:
            options = ", ".join(f"--{kind.replace('_', '-')}" for kind in BUDGETS)
            what = "a budget is missing" if not named else f"there are {len(named)} budgets"
            raise InputError(f"{what}; give one of {options}, such as --params 70%")
        ((kind, text),) = named.items()
        try:
            return cls(kind, Budget.parse(_METRICS[kind], text))
        except InputError as error:
            raise InputError(f"--{kind.replace('_', '-')}: {error}") from error

    @property
    def timed(self) -> bool:
        """Whether it is measured on a target."""
        return self.amount.metric.timed

    @property
    def phase(self) -> Phase:
        """What is timed."""
        return "prefill" if self.kind.startswith("prefill") else "decode"

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} of at most {self.amount.requested}"


@dataclass(frozen=True)
class ZerosPlan:
    """What `nm` may do in a block.

    Attributes:
        m: Neighbours along a layer's inputs that make a group.
        kept: Weights of a group that may stay, ascending; the last is all of them.
        by: The one-shot method that says which ones: `wanda`, `sparsegpt` or `magnitude`.
    """

    m: int = 4
    kept: tuple[int, ...] = (2, 4)
    by: str = "wanda"

    @classmethod
    def of(cls, patterns: str, by: str) -> ZerosPlan:
        """As users write it.

        Args:
            patterns: What a block may have in place of all its weights, with commas: `2:4`, or `1:4,2:4`.
            by: See the attribute.

        >>> ZerosPlan.of("1:4,2:4", "wanda").kept
        (1, 2, 4)

        Raises:
            InputError: If a pattern is none, or groups differ in size.
        """
        found = [re.fullmatch(r"(\d{1,4}):(\d{1,4})", word.strip()) for word in patterns.split(",")]
        pairs = [(int(match[1]), int(match[2])) for match in found if match is not None]
        if len(pairs) < len(found) or any(not 1 <= n < m <= _LARGEST for n, m in pairs):
            raise InputError(f"--patterns {shortened(patterns)}: write N:M such as 2:4 or 1:4,2:4, N from 1 to M - 1")
        sizes = {m for _, m in pairs}
        if len(sizes) > 1:
            raise InputError(f"--patterns {patterns}: groups are of one size; write such as 1:4,2:4")
        (m,) = sizes
        return cls(m, tuple(sorted({m, *(n for n, _ in pairs)})), by)


@dataclass(frozen=True)
class SearchPlan:
    """How a search goes.

    Attributes:
        budget: What the model may cost.
        agent: Who searches, as users write it.
        episodes: That the agent may log.
        warmup: How many of them are warm-up; None for the default.
        target: Where latencies are measured.
        prompt: Tokens of the prompt that is read, or that stands before the tokens that are decoded.
        number_format: Of the matrices that llama.cpp and OpenVINO are timed with.
        seed: Of everything drawn.
        decisions: What it may change.
        zeros: What `nm` may do, where it is among the decisions.
    """

    budget: LanguageBudget
    agent: str = "optuna"
    episodes: int = 60
    warmup: int | None = None
    target: str = "llama.cpp"
    prompt: int = 128
    number_format: str = "f16"
    seed: int = 0
    decisions: tuple[str, ...] = DECISIONS
    zeros: ZerosPlan = ZerosPlan()
