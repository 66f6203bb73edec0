"""Weights of the hardware-aware importance, searched: three numbers in place of a decision for every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import TPESampler
from optuna.trial import create_trial

from autoprune.agents.base import Agent, EpisodeRecord, PlannedEpisode
from autoprune.agents.optuna_search.quiet import quiet
from autoprune.agents.solvers.greedy_steps import Prices
from autoprune.agents.solvers.least_important import least_important
from autoprune.agents.state import AgentState
from autoprune.cost.importance import ImportanceWeights
from autoprune.envs import drawn_limit
from autoprune.errors import RunError

__all__ = ["ImportanceAgent"]

_FIRST = ((1.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0))
"""Weights that are tried first: the default, each part alone, all alike."""

_NAMES = ("alpha", "beta", "gamma")
_RANGE: Mapping[str, FloatDistribution] = {name: FloatDistribution(0.0, 1.0) for name in _NAMES}


class ImportanceAgent(Agent):
    """Plays what the hardware-aware importance removes first, and searches its weights with Optuna (TPE).

    Importance is `alpha * loss + beta / saved + gamma / energy saved` (`autoprune.cost.importance`), of the next step
    of every decision that saves something, the rest of the policy as it is; the least important step is taken again
    and again until the budget is met. Three weights, of which only the proportions count, are found in a few dozen
    evaluations, and hold for other budgets and, roughly, for networks of the same family. Many weights give the same
    policy, which is scored once.

    Args:
        env: The environment; its `curves` say what decisions lose, its `energy` what policies take of it: without one,
            gamma is 0.
        episodes: How many rows it may log.
        warmup: How many of them count as warm-up.
        seed: Of the weights that are drawn.
        seed_policies: What the first episodes play, without weights.
        settings: None.
    """

    name: ClassVar[str] = "importance"
    uses_curves: ClassVar[bool] = True

    def _prepare(self) -> None:
        self.prices = Prices.of(self.env)
        self.weights: list[ImportanceWeights | None] = []

    @property
    def best_weights(self) -> ImportanceWeights:
        """The weights of the best episode that had some; of equal ones the first.

        Raises:
            ValueError: Before the first of them.
        """
        tried = [(record.reward, -k, w) for k, (w, record) in enumerate(self._tried())]
        return max(tried, key=lambda each: each[:2])[2]

    def _tried(self) -> list[tuple[ImportanceWeights, EpisodeRecord]]:
        """Weights and what came of them."""
        return [(w, record) for w, record in zip(self.weights, self.history, strict=True) if w is not None]

    def _plan(self, k: int) -> PlannedEpisode:
        number = k - len(self.seed_policies)
        if number < 0:
            return self._episode(k, self.seed_policies[k])
        weights = self._drawn(k, number)
        limit = (
            self.env.limit
            if np.isfinite(self.env.limit)
            else drawn_limit(self.env.cost, self._generator(k), self.env.fallback)
        )
        return self._episode(k, least_important(self.prices, self.env.energy, weights, limit), weights)

    def _learn(self, record: EpisodeRecord, planned: PlannedEpisode) -> None:
        self.weights.append(planned.note)

    def _drawn(self, k: int, number: int) -> ImportanceWeights:
        if number < len(_FIRST):
            return self._usable(*_FIRST[number])
        with quiet():
            sampler = TPESampler(seed=int(self._generator(k).integers(2**31)), n_startup_trials=1, multivariate=True)
            study = optuna.create_study(direction="maximize", sampler=sampler)
            for weights, record in self._tried():
                params = {name: getattr(weights, name) for name in _NAMES}
                study.add_trial(create_trial(params=params, distributions=dict(_RANGE), value=record.reward))
            asked = study.ask(dict(_RANGE)).params
        return self._usable(*(float(asked[name]) for name in _NAMES))

    def _usable(self, alpha: float, beta: float, gamma: float) -> ImportanceWeights:
        """Weights of which one counts; without energy gamma is none of them."""
        gamma = gamma if self.env.energy is not None else 0.0
        return ImportanceWeights(alpha, beta, gamma) if alpha or beta or gamma else ImportanceWeights()

    def scalars(self) -> dict[str, float]:
        """The weights of the episode just played, if it had some."""
        last = self.weights[-1] if self.weights else None
        return {} if last is None else {name: getattr(last, name) for name in _NAMES}

    def state_dict(self) -> AgentState:
        """The history, and the weights of every episode."""
        state = super().state_dict()
        weights = [None if each is None else [each.alpha, each.beta, each.gamma] for each in self.weights]
        return AgentState(state.tensors, state.values | {"weights": weights})

    def load_state_dict(self, state: AgentState) -> None:
        """Go on where `state` was taken.

        Raises:
            RunError: If it is the state of another agent, seed or search space, or not whole.
        """
        super().load_state_dict(state)
        kept = state.values.get("weights")
        if not isinstance(kept, list) or len(kept) != len(self.history):
            raise RunError("the saved state does not fit this agent: it has no weights of every episode")
        self.weights = [None if each is None else ImportanceWeights(*map(float, each)) for each in kept]
