"""Who searches, and for how long."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from autoprune.run.settings.base import Settings, joined, setting

__all__ = ["SearchSettings", "default_warmup"]


def default_warmup(episodes: int) -> int:
    """Episodes of warm-up when the user does not say: a quarter, at most AMC's 100."""
    return min(100, episodes // 4)


class SearchSettings(Settings):
    """Who searches, and for how long."""

    panel = "Search"

    agent: str = setting(
        "ddpg",
        "who searches: ddpg, optuna, evolution, exact, greedy, importance, netadapt, random, uniform; settings behind"
        " an @ (optuna@sampler=cmaes); several with commas",
    )
    episodes: int = setting(
        300, "episodes that the agent may log: warm-up and repeated policies included", ge=1, le=10**6
    )
    warmup: int | None = setting(
        None, "episodes before the agent learns; default min(100, episodes / 4)", ge=0, le=10**6
    )
    fidelity: Literal["racing", "full"] = setting(
        "racing",
        "images that a candidate's accuracy is taken on: racing gives up those that are clearly worse than the"
        " finalists so far after a part of them, full takes all",
    )
    front: bool = setting(
        False,
        "search the whole front of score and cost, from the budget to the dense network, in one study (optuna), or by"
        " one agent that sees the budget (ddpg)",
    )
    warm_start: str | None = setting(
        None, "run whose ddpg agent this one starts from: of the same family of networks, smaller perhaps"
    )

    @field_validator("agent", mode="before")
    @classmethod
    def _agents_are_text(cls, value: Any) -> Any:
        return joined(value)

    @model_validator(mode="after")
    def _warmup_is_part_of_the_search(self) -> Self:
        if self.warmup is not None and self.warmup > self.episodes:
            raise ValueError(f"warmup ({self.warmup}) must not exceed episodes ({self.episodes})")
        return self

    @property
    def warmup_episodes(self) -> int:
        """Episodes before the agent learns."""
        return default_warmup(self.episodes) if self.warmup is None else self.warmup
