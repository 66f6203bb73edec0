"""What a language model may cost, as users write it. No heavy import, for the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from autoprune.cost.budget import Budget
from autoprune.errors import InputError

__all__ = ["BUDGETS", "DECISIONS", "FFN_BY_BLOCK", "LanguageBudget", "Phase", "SearchPlan"]

_METRICS = {"params": "params", "bytes": "bytes", "prefill_latency": "latency", "decode_latency": "latency"}

Phase = Literal["prefill", "decode"]
"""What latencies are of: reading a prompt, or writing a token behind it."""

BUDGETS = tuple(_METRICS)
"""The settings that name a budget; a run has one."""

DECISIONS = ("blocks", "ffn", "hidden", "heads", "queries")
"""What a search may change: decoder blocks, neurons of each feed-forward part, channels of the residual stream, heads
of keys and values, query heads on each of them."""

FFN_BY_BLOCK = "ffn-by-block"
"""In place of `ffn`: the neurons of each block are a decision of their own."""


@dataclass(frozen=True)
class LanguageBudget:
    """A limit.

    Attributes:
        kind: One of `BUDGETS`.
        amount: A share of the dense model's cost, or parameters, bytes, or milliseconds (of decoding, a token).
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
class SearchPlan:
    """How a search goes.

    Attributes:
        budget: What the model may cost.
        agent: Who searches, as users write it.
        episodes: That the agent may log.
        warmup: How many of them are warm-up; None for the default.
        target: Where latencies are measured.
        prompt: Tokens of the prompt that is read, or that stands before the tokens that are decoded.
        number_format: Of the GGUF files that llama.cpp is timed with.
        seed: Of everything drawn.
        decisions: What it may change.
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
