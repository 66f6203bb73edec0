"""Who searches, and for how long."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from autoprune.run.settings.base import Settings, joined, setting

__all__ = ["SearchSettings", "default_warmup"]


def default_warmup(episodes: int) -> int:
    """Episodes of warm-up when the user does not say: a quarter, at most AMC's 100."""
    return min(100, episodes // 4)


_BATCH = 8  # episodes of a round where there are workers; the same for any number of them


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
    batch: int | None = setting(
        None,
        "episodes of a round, whose policies are chosen together and can be scored at the same time; default 1, with"
        " --workers 8. The result depends on it, not on the workers",
        ge=1,
        le=10**6,
    )
    workers: int = setting(
        1, "processes of one thread each in which the candidates of a round are scored", ge=1, le=1024
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

    @model_validator(mode="after")
    def _a_round_keeps_all_workers_busy(self) -> Self:
        if self.workers > self.episodes_at_once:
            raise ValueError(f"workers ({self.workers}) must not exceed batch ({self.episodes_at_once})")
        return self

    @property
    def episodes_at_once(self) -> int:
        """Episodes of a round."""
        return self.batch or (1 if self.workers == 1 else _BATCH)

    @property
    def warmup_episodes(self) -> int:
        """Episodes before the agent learns."""
        return default_warmup(self.episodes) if self.warmup is None else self.warmup
