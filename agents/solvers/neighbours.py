"""Local search: policies near the best ones so far, within the limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autoprune.agents.base import EpisodeRecord, best
from autoprune.agents.solvers.greedy_steps import Prices, narrowed, refilled
from autoprune.envs import Curves, PruningEnv

__all__ = ["Neighbours"]

_TRIES = 20  # draws of a neighbour that was not played yet, before a repeated one is played after all
_PARENTS = 3  # neighbours are drawn of so many of the best policies


class Neighbours:
    """Draws a policy near one of the best: two decisions changed at random, then narrowed or widened to the limit.

    Args:
        env: Its curves say what is narrowed first; without them every unit is assumed to be worth the same.

    Attributes:
        prices: What options cost and are predicted to lose.
    """

    def __init__(self, env: PruningEnv) -> None:
        self._env = env
        self.prices = Prices.of(env)

    def instead_of(
        self,
        choices: Mapping[str, int],
        history: Sequence[EpisodeRecord],
        limit: float,
        rng: np.random.Generator,
        pending: Sequence[Mapping[str, int]] = (),
    ) -> dict[str, int] | None:
        """What an agent plays where it has chosen what was played before, which would teach it nothing.

        Args:
            choices: What it has chosen, complete and as an episode would execute it.
            history: The episodes so far.
            limit: What the episode's policy may cost, in the cost's unit.
            rng: Where the randomness comes from.
            pending: Policies that are planned and not played yet.

        Returns:
            A neighbour of the best policies; None where the choice is new, there is no limit to spend, or no policy
            within it yet.
        """
        known = [*(record.choices for record in history), *pending]
        if np.isinf(limit) or choices not in known or all(record.predicted_cost > limit for record in history):
            return None
        return self.draw(history, limit, rng, pending)

    def draw(
        self,
        history: Sequence[EpisodeRecord],
        limit: float,
        rng: np.random.Generator,
        pending: Sequence[Mapping[str, int]] = (),
    ) -> dict[str, int]:
        """A policy that is not among the episodes so far, where a few draws find one.

        Args:
            history: The episodes so far, at least one of them within the limit.
            limit: What the policy may cost, in the cost's unit; finite.
            rng: Where the randomness comes from.
            pending: Policies that are planned and not played yet.
        """
        parents = best([record for record in history if record.predicted_cost <= limit], _PARENTS)
        played = {tuple(choices.values()) for choices in (*(record.choices for record in history), *pending)}
        choices: dict[str, int] = {}
        for _ in range(_TRIES):
            parent = parents[int(rng.integers(len(parents)))]
            choices = self._changed(parent.choices, limit, rng)
            if tuple(choices.values()) not in played:
                break
        return choices

    def _changed(self, choices: Mapping[str, int], limit: float, rng: np.random.Generator) -> dict[str, int]:
        space = self._env.space
        indices = space.indices(choices)
        for d in rng.choice(len(space), size=min(2, len(space)), replace=False):
            step = int(rng.geometric(0.5)) * (1 if rng.random() < 0.5 else -1)
            indices[d] = np.clip(indices[d] + step, 0, len(space.decisions[d].options) - 1)
        doubts = np.exp(rng.normal(0.0, 0.5, size=len(space)))  # curves are of single cuts: not to be taken literally
        curves = Curves(tuple(losses * doubt for losses, doubt in zip(self.prices.curves.losses, doubts, strict=True)))
        prices = Prices(self._env.cost, curves)
        start = space.indices(space.choices(indices))
        return space.choices(refilled(prices, limit, narrowed(prices, limit, start)))
