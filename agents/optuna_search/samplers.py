"""Optuna's samplers as the agent uses them: made anew for every episode, and learning from what was executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseGASampler, BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from autoprune.agents.optuna_search.cma import CmaSampler

__all__ = ["OF_ONE_OBJECTIVE", "SAMPLERS", "Executed", "Plan"]

_MOST_PARENTS, _GENERATIONS = 20, 10

Options = dict[str, int]


@dataclass(frozen=True)
class Plan:
    """What a sampler is made for.

    Attributes:
        episodes: Of the whole search, warm-up included.
        warmup: How many come first that the sampler did not choose.
        seed: Seed of an episode, by its number.
    """

    episodes: int
    warmup: int
    seed: Callable[[int], int]

    @property
    def population(self) -> int:
        """Individuals of a generation: at most 20, and so few that there are ten generations where it can be."""
        return max(4, min(_MOST_PARENTS, self.episodes // _GENERATIONS))


def _tpe(plan: Plan, episode: int) -> BaseSampler:
    return TPESampler(seed=plan.seed(episode), n_startup_trials=1, multivariate=True, group=True)


def _gp(plan: Plan, episode: int) -> BaseSampler:
    return GPSampler(seed=plan.seed(episode), n_startup_trials=1)


def _cmaes(plan: Plan, episode: int) -> BaseSampler:
    return CmaSampler(plan.seed, plan.warmup)


def _nsga2(plan: Plan, episode: int) -> BaseSampler:
    return NSGAIISampler(seed=plan.seed(episode), population_size=plan.population)


def _nsga3(plan: Plan, episode: int) -> BaseSampler:
    return NSGAIIISampler(seed=plan.seed(episode), population_size=plan.population)


SAMPLERS: Mapping[str, Callable[[Plan, int], BaseSampler]] = {
    "cmaes": _cmaes,
    "gp": _gp,
    "nsga2": _nsga2,
    "nsga3": _nsga3,
    "tpe": _tpe,
}
"""Makes the sampler of one episode, by the sampler's name. None is kept: a generator that is seeded once would not
resume to the same trials."""

OF_ONE_OBJECTIVE = ("cmaes",)
"""Samplers that cannot weigh score against cost."""


class Executed(BaseSampler):
    """Another sampler's choices as an episode executes them: a trial's parameters are what ran.

    The action mask changes what a sampler asks for. If the study held what was asked for, it would learn about
    policies that never ran.

    Args:
        inner: Who chooses.
        execute: Of option numbers by decision that an episode asks for, those that it executes.
        distributions: The options of every decision.
        prescribed: What is asked for instead of the sampler's choice, such as a solver's answer.
    """

    def __init__(
        self,
        inner: BaseSampler,
        execute: Callable[[Options], Options],
        distributions: Mapping[str, BaseDistribution],
        prescribed: Options | None = None,
    ) -> None:
        self._inner, self._execute, self._prescribed = inner, execute, prescribed
        self._distributions = dict(distributions)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All decisions, from the first trial on."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Option numbers by decision, as executed."""
        return {**self._execute(self._asked(study, trial, search_space))}

    def _asked(self, study: Study, trial: FrozenTrial, space: dict[str, BaseDistribution]) -> Options:
        inner = self._inner
        if self._prescribed is not None:
            if isinstance(inner, BaseGASampler):
                inner.get_trial_generation(study, trial)  # notes it: what was prescribed is a parent, too
            return self._prescribed
        asked = inner.sample_relative(study, trial, inner.infer_relative_search_space(study, trial))
        for name, distribution in space.items():
            if name not in asked:
                asked[name] = inner.sample_independent(study, trial, name, distribution)
        return {name: int(asked[name]) for name in space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: every decision is in the relative search space."""
        raise NotImplementedError

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """What the sampler does before a trial."""
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """What the sampler does after a trial."""
        self._inner.after_trial(study, trial, state, values)
