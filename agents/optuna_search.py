"""Black-box optimisation over the same decisions, by Optuna."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from autoprune.agents.base import Agent, EpisodeRecord
from autoprune.agents.state import AgentState
from autoprune.envs import action_for
from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name

__all__ = ["SAMPLERS", "OptunaAgent"]

SAMPLERS = ("gp", "tpe")


class OptunaAgent(Agent):
    """Asks an Optuna sampler for a policy, plays it behind the action mask, and reports to the study what was executed.

    The study lives in memory and is rebuilt from the history. A sampler that is seeded once does not resume to the
    same trials, so every episode has a fresh one, seeded by (seed, episode).

    Args:
        env: The environment.
        episodes: How many rows it may log, warm-up included.
        warmup: Episodes of exploration near the budget; a quarter, at most 100, if not given.
        seed: Of everything that is drawn.
        seed_policies: What the first episodes play.
        sampler: `tpe` (tree-structured Parzen estimator) or `gp` (Gaussian process).
        slack: Share of the budget that the sampler's choices may leave unspent; 1 leaves them to the action mask alone.

    Raises:
        InputError: If the sampler is unknown or `slack` is not in [0, 1].
    """

    name: ClassVar[str] = "optuna"
    uses_seed_policies: ClassVar[bool] = True

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        episodes: int,
        warmup: int | None = None,
        seed: int = 0,
        seed_policies: Sequence[Mapping[str, int]] = (),
        sampler: str = "tpe",
        slack: float = 0.05,
    ) -> None:
        super().__init__(env, episodes=episodes, warmup=warmup, seed=seed, seed_policies=seed_policies)
        if sampler not in SAMPLERS:
            raise InputError(f"unknown Optuna sampler {sampler!r}; {nearest_name(sampler, SAMPLERS)}")
        if not 0 <= slack <= 1:
            raise InputError(f"slack must be in [0, 1], not {slack}")
        self.sampler, self.slack = sampler, slack
        self._distributions: dict[str, BaseDistribution] = {
            decision.name: IntDistribution(0, len(decision.options) - 1) for decision in self.env.space.decisions
        }
        self._new_study()

    def _play(self, k: int) -> None:
        choices = self._prescribed(k)
        if choices is not None:
            self._execute(choices)
            return
        asked = self._ask(k)
        self.env.reset()
        for decision in self.env.space.decisions:
            action = action_for(decision, decision.options[asked[decision.name]])
            self.env.step(self.env.spend(action, self.slack))

    def _ask(self, k: int) -> dict[str, int]:
        """Option numbers by decision. The asked trial is closed as failed: only executed points count."""
        with _quiet():
            self.study.sampler = _sampler(self.sampler, int(self._generator(k).integers(2**31)))
            trial = self.study.ask(self._distributions)
            self.study.tell(trial, state=TrialState.FAIL)
        return {name: int(value) for name, value in trial.params.items()}

    def _learn(self, record: EpisodeRecord) -> None:
        with _quiet():
            self.study.add_trial(
                create_trial(
                    params=self._numbers(record.choices), distributions=self._distributions, value=record.reward
                )
            )

    def _numbers(self, choices: Mapping[str, int]) -> dict[str, Any]:
        return dict(zip(self.env.space.names, self.env.space.indices(choices).tolist(), strict=True))

    def load_state_dict(self, state: AgentState) -> None:
        """Go on where `state` was taken; the study is rebuilt, trial by trial, with the same numbers."""
        super().load_state_dict(state)
        self._new_study()
        for record in self.history:
            if not record.warmup:
                with _quiet():
                    self.study.add_trial(create_trial(state=TrialState.FAIL))
            self._learn(record)

    def _new_study(self) -> None:
        with _quiet():
            self.study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=1, multivariate=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's log and its notes on experimental parts in here, and put everything back."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
