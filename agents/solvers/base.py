"""The contract of solvers: policies computed from the decisions' curves, played first, then improved locally."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from autoprune.agents.base import Agent, PlannedEpisode
from autoprune.agents.solvers.neighbours import Neighbours
from autoprune.agents.state import AgentState
from autoprune.envs import drawn_limit

__all__ = ["SolverAgent"]


class SolverAgent(Agent):
    """Plays what it was given, then its own answers, then neighbours of the best policies so far.

    Answers follow from cost, limit and curves alone; the neighbour that episode k plays follows from (seed, k) and the
    scores so far. Without a budget each episode draws a limit first, anywhere between the cheapest policy and the dense
    one, and plays the answer to it.

    Args:
        env: The environment; its `curves` say what the decisions are predicted to lose.
        episodes: How many rows it may log.
        warmup: How many of them count as warm-up; a solver has none, and only marks the rows.
        seed: Of the neighbours.
        seed_policies: What the first episodes play.
        settings: What can be chosen of the solver.
    """

    uses_curves: ClassVar[bool] = True

    def _prepare(self) -> None:
        self._neighbours = Neighbours(self.env)
        self.prices = self._neighbours.prices
        self._answers: list[dict[str, int]] | None = None

    @abstractmethod
    def solve(self, limit: float) -> list[dict[str, int]]:
        """Policies within a limit, the best first, at least one.

        Args:
            limit: What a policy may cost at most, in the cost's unit; finite.
        """

    def _plan(self, k: int) -> PlannedEpisode:
        return self._episode(k, self.seed_policies[k] if k < len(self.seed_policies) else self._computed(k))

    def _computed(self, k: int) -> dict[str, int]:
        """An answer, or a neighbour of the best policies; random in a first round that is longer than the answers."""
        if np.isinf(self.env.limit):
            return self.solve(drawn_limit(self.env.cost, self._generator(k), self.env.fallback))[0]
        answers, number = self.answers(), k - len(self.seed_policies)
        if number < len(answers):
            return answers[number]
        if not self.history:
            return self._explore(k)
        return self._neighbours.draw(self.history, self.env.limit, self._generator(k), self.pending)

    def answers(self) -> list[dict[str, int]]:
        """Its policies within the environment's budget, computed once."""
        if self._answers is None:
            self._answers = [dict(choices) for choices in self.solve(self.env.limit)]
        return self._answers

    def state_dict(self) -> AgentState:
        """The history, and the answers, which need not be computed again."""
        state = super().state_dict()
        return AgentState(state.tensors, state.values | {"answers": self._answers})

    def load_state_dict(self, state: AgentState) -> None:
        """Go on where `state` was taken.

        Raises:
            RunError: If it is the state of another agent, seed or search space.
        """
        super().load_state_dict(state)
        answers = state.values.get("answers")
        self._answers = None if answers is None else [self.env.space.complete(choices) for choices in answers]
