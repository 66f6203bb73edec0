"""AMC's agent: deep deterministic policy gradients, on stable-baselines3."""

from __future__ import annotations

from typing import Any, ClassVar

from autoprune.agents.base import Agent, PlannedEpisode
from autoprune.agents.ddpg.amc import AMC
from autoprune.agents.ddpg.settings import AMCSettings
from autoprune.agents.limits import limit_of
from autoprune.agents.solvers.neighbours import Neighbours
from autoprune.agents.state import AgentState
from autoprune.errors import InputError, RunError, first_line

__all__ = ["DDPGAgent"]


class DDPGAgent(Agent):
    """Plays `AMC` one episode at a time. Solvers' answers and warm-up policies go into its replay first.

    Args:
        env: The environment.
        episodes: How many rows it may log, warm-up included.
        warmup: Episodes of exploration near the budget; a quarter, at most 100, if not given.
        seed: Of everything that is drawn, the networks' weights included.
        seed_policies: What the first episodes play.
        settings: AMC's hyper-parameters.
        limits: Of several budgets that it is trained for.

    Raises:
        InputError: If several budgets are to be trained and the environment does not show them.
    """

    name: ClassVar[str] = "ddpg"
    uses_seed_policies: ClassVar[bool] = True
    serves_several_budgets: ClassVar[bool] = True
    warm_starts: ClassVar[bool] = True
    settings_class: ClassVar[type[Any] | None] = AMCSettings
    settings: AMCSettings

    def _prepare(self) -> None:
        if (self.settings.front or self.limits) and not self.env.shows_limit:
            raise InputError("an agent of several budgets has to see them: PruningEnv(shows_limit=True)")
        self._neighbours = Neighbours(self.env)
        self.model = AMC(
            self.env,
            self.settings,
            episodes=self.episodes,
            warmup=self.warmup,
            seed=self.seed,
        )

    def _plan(self, k: int) -> PlannedEpisode:
        return self._episode(k, self._prescribed(k) or self._chosen(k, self._limit(k)))

    def _carry_out(self, planned: PlannedEpisode) -> None:
        self._sigma = self.model.sigma(planned.number)
        self.model.play(planned.number, planned.choices, planned.limit)

    def _chosen(self, k: int, limit: float) -> dict[str, int]:
        """What a learning episode plays: the actor's proposal, or a neighbour of the best policies.

        An actor that has settled proposes one policy again and again, which teaches nothing.
        """
        rng = self._generator(k)
        if rng.random() < self.settings.neighbours and limit < float("inf") and self.history:
            return self._neighbours.draw(self.history, limit, rng, self.pending)
        proposed = self.model.propose(k, limit, rng)
        return self._neighbours.instead_of(proposed, self.history, limit, rng, self.pending) or proposed

    def _limit(self, k: int) -> float:
        """The budget, or one of several; of a front, a limit between it and the dense cost."""
        return limit_of(k, self.env.cost, self.env.limit) if self.settings.front else super()._limit(k)

    def start_from(self, state: AgentState) -> None:
        """Take over the networks of a search of another network: what it learned, not what it saw.

        Raises:
            InputError: If it is no state of this agent, or its networks see other columns.
        """
        if state.values.get("agent") != self.name:
            raise InputError(f"a warm start of {self.name} needs a run of it, not of {state.values.get('agent')}")
        try:
            self.model.adopt(state.tensors)
        except (KeyError, RuntimeError) as error:
            raise InputError(f"the run's networks do not fit a warm start here: {first_line(error)}") from error

    def scalars(self) -> dict[str, float]:
        """Noise of the episode just played, moving average of rewards, and after the warm-up the last losses."""
        return {
            "noise_sigma": getattr(self, "_sigma", 0.0),
            "reward_average": self.model.replay_buffer.baseline,
            **self.model.losses,
        }

    def state_dict(self) -> AgentState:
        """Weights, targets, both optimisers, replay, counters, and the history."""
        values = super().state_dict().values
        tensors, amc = self.model.state()
        return AgentState(tensors, values | {"amc": amc})

    def load_state_dict(self, state: AgentState) -> None:
        """Go on where `state` was taken.

        Raises:
            RunError: If it is the state of another agent, seed, search space or network.
        """
        super().load_state_dict(state)
        try:
            self.model.restore(state.tensors, state.values["amc"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise RunError(f"the saved state does not fit this agent: {error}") from error
