"""The contract of every agent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import gymnasium
import numpy as np

from autoprune.agents.planned import PlannedEpisode
from autoprune.agents.state import AgentState
from autoprune.envs import PruningEnv, action_for, spend_budget
from autoprune.errors import AutopruneError, InputError, RunError
from autoprune.foundations.files import shortened
from autoprune.run.records import EpisodeRecord
from autoprune.run.settings import default_warmup

__all__ = ["Agent", "EpisodeRecord", "PlannedEpisode", "best"]


def best(records: Sequence[EpisodeRecord], count: int = 1) -> list[EpisodeRecord]:
    """The best records of different policies: by reward, then by lower cost, then the earlier one.

    Args:
        records: Episodes of one search, in any order.
        count: How many at most.
    """
    ranked = sorted(records, key=lambda r: (-r.reward, r.predicted_cost, r.episode))
    first: dict[tuple[tuple[str, int], ...], EpisodeRecord] = {}
    for record in ranked:
        first.setdefault(tuple(sorted(record.choices.items())), record)
    return list(first.values())[:count]


class Agent(ABC):
    """Fills in policies, one an episode, and learns from their scores.

    An agent is deterministic given its seed, the episode's number, the history of scores and the size of its rounds:
    every episode draws from a separate generator, seeded by (seed, episode). So a search resumes exactly from a saved
    state, or from the stored scores alone.

    Life cycle: `__init__` on an environment; perhaps `load_state_dict`; then rounds until `finished`, with
    `state_dict` between any two of them. A round is `plan(n)`, which chooses the policies of the next n episodes by
    what is known so far, so that they can be scored at the same time, and then `play()` n times, which plays them in
    their order and learns from each. `episode(k)` is a round of one.

    A subclass writes `_plan` (what one episode plays), `_carry_out` where that is more than `_execute`, and `_learn`
    where it learns. It is named on the command line once it is in `autoprune.agents.AGENTS`, and is proved by
    `autoprune.testing.agent`.

    Args:
        env: The environment; wrappers around it are taken off.
        episodes: How many rows the agent may log: solvers' answers, warm-up and repeated policies included.
        warmup: How many of them are exploration near the budget; a quarter, at most 100, if not given.
        seed: Of everything that is drawn.
        seed_policies: Choices that the first episodes play, such as the solvers' answers; part of the warm-up, which
            grows to hold them. The search then never ends below them.
        limits: What the episodes' policies may cost in turn, in the cost's unit, where one agent is trained for several
            budgets; the environment's limit if there are none. Each seed policy has to meet its own episode's.
        settings: What users write behind an @, an instance of `settings_class`; its defaults if not given.

    Attributes:
        name: What `--agent` calls it, and the agent's name in every episode's row.
        uses_seed_policies: Whether a search hands it the solvers' answers to begin with.
        serves_several_budgets: Whether it takes `limits`: it has to see what an episode may cost
            (`PruningEnv(shows_limit=True)`).
        uses_curves: Whether it computes with the environment's `curves`: a search measures them first.
        is_baseline: Whether its one policy is what others are compared with: finalists of such a search are not
            widened, and under a tighter limit the same rule gives the next policy.
        warm_starts: Whether it can begin with what it learned in another run (`start_from`).
        settings_class: A dataclass of what can be chosen of the agent, which users write behind an @
            (`optuna@sampler=gp+slack=0.1`); None if there is nothing.
        history: Every episode played so far.
    """

    name: ClassVar[str]
    uses_seed_policies: ClassVar[bool] = False
    serves_several_budgets: ClassVar[bool] = False
    uses_curves: ClassVar[bool] = False
    is_baseline: ClassVar[bool] = False
    warm_starts: ClassVar[bool] = False
    settings_class: ClassVar[type[Any] | None] = None

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        episodes: int,
        warmup: int | None = None,
        seed: int = 0,
        seed_policies: Sequence[Mapping[str, int]] = (),
        settings: Any = None,
        limits: Sequence[float] = (),
    ) -> None:
        unwrapped = env.unwrapped
        if not isinstance(unwrapped, PruningEnv):
            raise InputError(f"agents play autoprune/Pruning-v0, not {type(unwrapped).__name__}")
        if episodes < 1 or seed < 0 or (warmup is not None and warmup < 0):
            raise InputError(
                f"episodes must be at least 1, seed and warmup at least 0; not {episodes}, {seed}, {warmup}"
            )
        if limits and not self.serves_several_budgets:
            raise InputError(f"{self.name} searches under one budget, not under {len(limits)}")
        self.env = unwrapped
        self.limits = tuple(map(float, limits))
        self.settings: Any = self.settings_class() if settings is None and self.settings_class else settings
        self.episodes = episodes
        self.seed = seed
        self.seed_policies = [self.env.space.complete(choices) for choices in seed_policies][:episodes]
        wanted = default_warmup(episodes) if warmup is None else warmup
        self.warmup = min(episodes, max(wanted, len(self.seed_policies)))
        self.history: list[EpisodeRecord] = []
        self._round: list[PlannedEpisode] = []
        self._playing = False
        self._prepare()

    def _prepare(self) -> None:  # noqa: B027  # simple agents need nothing more
        """Build what the agent needs beside; called last of the construction."""

    @property
    def played(self) -> int:
        """How many episodes have been played; the number of the next one."""
        return len(self.history)

    @property
    def left(self) -> int:
        """How many episodes may still be played."""
        return self.episodes - self.played

    @property
    def finished(self) -> bool:
        """Whether all episodes have been played."""
        return self.left < 1

    @property
    def between_rounds(self) -> bool:
        """Whether no episode is planned or under way, so that the agent has a state."""
        return not (self._round or self._playing)

    def plan(self, count: int) -> list[PlannedEpisode]:
        """Begin a round: choose what the next episodes play, all of them by what is known now.

        Args:
            count: How many at most; fewer where fewer are left, or where the warm-up ends.

        Returns:
            The episodes in their order, with the choices that will be executed.

        Raises:
            InputError: If the last round is not played to its end, or the count is not at least 1.
        """
        if count < 1 or not self.between_rounds:
            raise InputError(f"a round has at least 1 episode and begins after the last one's end; not {count}")
        first = self.played
        for k in range(first, first + min(count, self.left, self._together)):
            self._round.append(self._as_executed(self._plan(k)))
        return list(self._round)

    def episode(self, k: int) -> EpisodeRecord:
        """Plan and play episode `k` alone, and learn from it.

        Raises:
            InputError: If `k` is not the next episode.
        """
        if k != self.played:
            raise InputError(f"the agent's next episode is {self.played}, not {k}")
        start = perf_counter()
        self.plan(1)
        return self.play(start)

    def play(self, start: float | None = None) -> EpisodeRecord:
        """Play the next episode of the round and learn from it.

        Args:
            start: When work on it began, of `time.perf_counter`; now if not given.

        Raises:
            InputError: If no episode is planned.
        """
        if not self._round:
            raise InputError("no episode is planned; plan() begins a round")
        start = perf_counter() if start is None else start
        self._playing = True
        planned = self._round.pop(0)
        k = planned.number
        self._carry_out(planned)
        outcome = self.env.outcome
        assert outcome is not None  # an episode has just ended
        record = EpisodeRecord(
            episode=k,
            agent=self.name,
            choices=outcome.choices,
            **{self.env.scored_as.key: outcome.score},
            predicted_cost=outcome.cost,
            reward=outcome.reward,
            seconds=perf_counter() - start,
            cached=outcome.repeated,
            warmup=k < self.warmup,
            images=outcome.share if outcome.share < 1 else None,
        )
        self._learn(record, planned)
        self.history.append(record)
        self._playing = False
        return record

    def keep_files_in(self, folder: Path) -> None:  # noqa: B027  # most agents keep none
        """Where the agent may keep files for people; called after a state is loaded and before the next episode.

        The agent must be able to write them anew: nothing in them is needed to resume.
        """

    def scalars(self) -> dict[str, float]:
        """Figures of the agent to plot after an episode; each is defined in docs/agents.md."""
        return {}

    def state_dict(self) -> AgentState:
        """Everything needed to continue exactly from here: tensors, and plain JSON values.

        Raises:
            AutopruneError: If an episode or a round was interrupted half-way: only the last saved state is whole.
        """
        if not self.between_rounds:
            raise AutopruneError(f"episode {self.played} was interrupted; resume from the last saved state instead")
        return AgentState(
            {},
            {
                "agent": self.name,
                "seed": self.seed,
                "decisions": list(self.env.space.names),
                "history": [record.to_row() for record in self.history],
            },
        )

    def load_state_dict(self, state: AgentState) -> None:
        """Continue from where `state` was taken; policies whose scores it knows are not evaluated again.

        Raises:
            RunError: If it is the state of another agent, seed or search space.
        """
        mine = {"agent": self.name, "seed": self.seed, "decisions": list(self.env.space.names)}
        for key, value in mine.items():
            if state.values.get(key) != value:
                other = shortened(repr(state.values.get(key)))
                raise RunError(f"the saved state has another {key}: {other} instead of {shortened(repr(value))}")
        rows = state.values.get("history")
        if not isinstance(rows, list):
            raise RunError("the saved state has no history of episodes")
        self.history = [EpisodeRecord.from_row(row) for row in rows]
        for record in self.history:
            self.env.memory.remember(record.choices, record.value, record.share)

    def start_from(self, state: AgentState) -> None:
        """Begin with what an agent has learned in another run, of another network perhaps; before the first episode.

        Args:
            state: That agent's.

        Raises:
            InputError: If the state does not fit, or this agent learns nothing that another run could use.
        """
        raise InputError(f"{self.name} learns nothing that another run could start from")

    @abstractmethod
    def _plan(self, k: int) -> PlannedEpisode:
        """Choose what episode `k` plays, by the history; `pending` are the round's episodes before it."""

    def _carry_out(self, planned: PlannedEpisode) -> None:
        """Play one whole episode of the environment."""
        self._execute(planned.choices, planned.limit)

    def _learn(self, record: EpisodeRecord, planned: PlannedEpisode) -> None:  # noqa: B027  # not every agent learns
        """Take note of the episode just played."""

    @property
    def _together(self) -> int:
        """How many episodes a round may have; what follows the warm-up, or the first episode, learns from it."""
        if self.played < self.warmup:
            return self.warmup - self.played
        return self.episodes if self.history else 1

    @property
    def pending(self) -> list[dict[str, int]]:
        """Policies that are planned and not played yet."""
        return [planned.choices for planned in self._round]

    def _episode(self, k: int, choices: Mapping[str, int], note: Any = None) -> PlannedEpisode:
        """Episode `k` with what it asks for, under its own limit."""
        return PlannedEpisode(k, dict(choices), self._limit(k), note)

    def _as_executed(self, planned: PlannedEpisode) -> PlannedEpisode:
        """The same episode with the feasible choices that are nearest to what it asks for."""
        env, asked = self.env, planned.choices
        executed = env.preview(lambda _: action_for(env.decision, asked[env.decision.name]), planned.limit)
        return replace(planned, choices=executed)

    def _generator(self, k: int) -> np.random.Generator:
        """Episode `k`'s own generator."""
        return np.random.default_rng([self.seed, k])

    def _prescribed(self, k: int) -> dict[str, int] | None:
        """What warm-up episode `k` plays, a solver's answer or a random policy on the budget; None after warm-up."""
        if k >= self.warmup:
            return None
        return self.seed_policies[k] if k < len(self.seed_policies) else self._explore(k)

    def _explore(self, k: int) -> dict[str, int]:
        limit = self._limit(k)
        fallback = self.env.fallback if limit >= self.env.limit else None
        return spend_budget(self.env.cost, limit, self._generator(k), fallback=fallback)

    def _limit(self, k: int) -> float:
        """What episode `k` may cost, in the cost's unit."""
        return self.limits[k % len(self.limits)] if self.limits else self.env.limit

    def _execute(self, choices: Mapping[str, int], limit: float) -> None:
        """Play one episode that asks for `choices`; the nearest feasible ones are executed.

        Args:
            choices: Kept units by decision, complete.
            limit: What the episode's policy may cost, in the cost's unit.
        """
        self.env.reset(options={"limit": limit})
        for decision in self.env.space.decisions:
            self.env.step(action_for(decision, choices[decision.name]))

    def _spending(self, choices: Mapping[str, int], limit: float, slack: float) -> dict[str, int]:
        """What an episode that asks for `choices` executes if it leaves at most a share of its limit unspent.

        Args:
            choices: Kept units by decision, complete.
            limit: In the cost's unit.
            slack: See `PruningEnv.spend`.
        """
        env = self.env
        return env.preview(lambda _: env.spend(action_for(env.decision, choices[env.decision.name]), slack), limit)
