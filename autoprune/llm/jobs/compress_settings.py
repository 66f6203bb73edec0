"""Settings of `autoprune llm compress`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import field_validator, model_validator

from autoprune.foundations.names import nearest_name
from autoprune.llm.jobs.settings import LanguageRunSettings
from autoprune.llm.search.budget import BUDGETS, BY_BLOCK, DECISIONS, NM, LanguageBudget, SearchPlan, ZerosPlan
from autoprune.run.settings.base import setting, valid

__all__ = ["CompressSettings"]


class CompressSettings(LanguageRunSettings):
    """A budget, who searches, and all that every run of a language model has."""

    params: str | None = setting(None, "budget of parameters: 70% or 90M")
    nonzeros: str | None = setting(None, "budget of parameters that may be other than zero: 70% or 90M; for nm")
    bytes: str | None = setting(None, "budget of bytes in a safetensors file: 70% or 200MB")
    prefill_latency: str | None = setting(None, "budget of the time to read a prompt: 70% or 300ms")
    decode_latency: str | None = setting(None, "budget of the time to write a token: 70% or 8ms")
    target: str = setting("llama.cpp", "where latencies are measured: llama.cpp, torch or openvino, in one thread")
    prompt: int = setting(128, "tokens of the prompt that is read, or that stands before the tokens written", ge=1)
    type: Literal["f32", "f16", "q8_0", "q4_0", "q4_1"] = setting(
        "f16", "that llama.cpp and openvino store matrices in; q4_1 is llama.cpp's alone"
    )
    agent: str = setting(
        "optuna", "who searches: ddpg, optuna, evolution, exact, greedy, importance, netadapt, random, uniform"
    )
    episodes: int = setting(60, "candidates that the agent may try, repeated ones included", ge=1, le=10**6)
    warmup: int | None = setting(None, "episodes before the agent learns; default a quarter", ge=0, le=10**6)

    decisions: str = setting(
        ",".join(DECISIONS),
        "what may change, with commas; ffn-by-block, heads-by-block: of each block; nm: N:M zeros of each block",
    )
    patterns: str = setting("2:4", "of nm: what a block may have in place of all its weights, with commas: 1:4,2:4")
    zeros_by: Literal["wanda", "sparsegpt", "magnitude"] = setting("wanda", "of nm: who says which weights are zero")

    @field_validator("decisions")
    @classmethod
    def _are_known(cls, value: str) -> str:
        names, known = _names(value), (*DECISIONS, *BY_BLOCK, NM)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(known)}; {nearest_name(unknown[0], known)}")
        for name, part in [*BY_BLOCK.items(), ("heads-by-block", "queries")]:
            if {name, part} <= set(names):
                raise ValueError(f"{part} is one number for all blocks, {name} one for each; give one of them")
        return value

    @model_validator(mode="after")
    def _has_one_budget(self) -> Self:
        valid(lambda: (self.budget, self.zeros))
        if NM in _names(self.decisions) and self.budget.kind != "nonzeros":
            kind = self.budget.kind.replace("_", "-")
            raise ValueError(f"nm leaves zeros, of which --{kind} gets no less; give --nonzeros")
        if self.warmup is not None and self.warmup > self.episodes:
            raise ValueError(f"warmup ({self.warmup}) must not exceed episodes ({self.episodes})")
        return self

    @property
    def budget(self) -> LanguageBudget:
        """What the model may cost."""
        return LanguageBudget.of({kind: getattr(self, kind) for kind in BUDGETS})

    @property
    def zeros(self) -> ZerosPlan:
        """What `nm` may do in a block."""
        return ZerosPlan.of(self.patterns, self.zeros_by)

    @property
    def plan(self) -> SearchPlan:
        """How the search goes."""
        return SearchPlan(
            self.budget, self.agent, self.episodes, self.warmup, self.target, self.prompt, self.type, self.seed,
            _names(self.decisions), self.zeros,
        )  # fmt: skip

    @property
    def words(self) -> tuple[str, str]:
        """Who searches, and the budget."""
        return f"search with {self.agent}", str(self.budget)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
