"""Black-box optimisation over the same decisions, by Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from autoprune.agents.base import Agent, EpisodeRecord, PlannedEpisode
from autoprune.agents.limits import limit_of
from autoprune.agents.optuna_search.journal import Journal
from autoprune.agents.optuna_search.quiet import quiet
from autoprune.agents.optuna_search.samplers import SAMPLERS, Executed, Plan
from autoprune.agents.optuna_search.settings import OptunaSettings
from autoprune.agents.solvers.neighbours import Neighbours
from autoprune.agents.state import AgentState
from autoprune.cost import JointCost
from autoprune.errors import RunError

__all__ = ["OptunaAgent"]


class OptunaAgent(Agent):
    """Asks an Optuna sampler for a policy and plays it behind the action mask; the study holds what was executed.

    Warm-up and solvers' answers are trials, too. Of a front, a trial has two values, score and cost;
    under several budgets, a constraint for each. The study lives in
    memory, and in a copy that `optuna-dashboard` opens (`keep_files_in`). A sampler that is seeded once does not resume
    to the same trials, so every episode has a fresh one, seeded by (seed, episode).

    Args:
        env: The environment.
        episodes: How many rows it may log, warm-up included.
        warmup: Episodes of exploration near the budget; a quarter, at most 100, if not given.
        seed: Of everything that is drawn.
        seed_policies: What the first episodes play.
        settings: Which sampler, and how.
    """

    name: ClassVar[str] = "optuna"
    uses_seed_policies: ClassVar[bool] = True
    settings_class: ClassVar[type[Any] | None] = OptunaSettings
    settings: OptunaSettings

    def _prepare(self) -> None:
        self._schedule = Plan(self.episodes, self.warmup, lambda k: int(self._generator(k).integers(2**31)))
        self._distributions: dict[str, BaseDistribution] = {
            decision.name: IntDistribution(0, len(decision.options) - 1) for decision in self.env.space.decisions
        }
        self._journal: Journal | None = None
        self._neighbours = Neighbours(self.env)
        self._new_study()

    def keep_files_in(self, folder: Path) -> None:
        """Copy the study into `folder`, all trials so far now and every further one when it is finished."""
        with quiet():
            self._journal = Journal(folder, self.study)

    def _plan(self, k: int) -> PlannedEpisode:
        prescribed = self._prescribed(k)
        with quiet():
            self.study.sampler = Executed(
                SAMPLERS[self.settings.chosen_sampler](self._schedule, k),
                lambda options: self._executed(options, k),
                self._distributions,
                None if prescribed is None else self._numbers(prescribed),
            )
            trial = self.study.ask(self._distributions)
        numbers = [trial.params[name] for name in self.env.space.names]
        return self._episode(k, self.env.space.choices(numbers), trial)

    def _limit(self, k: int) -> float:
        """The budget; of a front, a limit between it and the dense cost."""
        return limit_of(k, self.env.cost, self.env.limit) if self.settings.front else self.env.limit

    def _executed(self, options: Mapping[str, int], k: int) -> dict[str, int]:
        """The option numbers that an episode executes if it asks for these options."""
        space, limit = self.env.space, self._limit(k)
        choices = space.choices([options[name] for name in space.names])
        if k >= self.warmup:
            asked = self._spending(choices, limit, self.settings.slack)
            rng = self._generator(k)
            choices = self._neighbours.instead_of(asked, self.history, limit, rng, self.pending) or asked
        return self._numbers(self._as_executed(PlannedEpisode(k, choices, limit)).choices)

    def _learn(self, record: EpisodeRecord, planned: PlannedEpisode) -> None:
        trial: optuna.Trial = planned.note
        for name, value in _shown(record).items():
            trial.set_user_attr(name, value)
        for name, value in self._constraints(record).items():
            trial.set_constraint(name, value)
        with quiet():
            told = self.study.tell(trial, self._values(record))
            if self._journal is not None:
                self._journal.add(told)

    def _values(self, record: EpisodeRecord) -> list[float]:
        """What the study is told of an episode, in the order of its directions."""
        return [record.reward, record.predicted_cost] if self.settings.front else [record.reward]

    def _constraints(self, record: EpisodeRecord) -> dict[str, float]:
        """What the executed policy takes of each of several budgets, less 1; at most 0 where it is met.

        One budget needs none, since the action mask lets no trial exceed it; of several it says which one binds.
        """
        cost = self.env.cost
        if not isinstance(cost, JointCost):
            return {}
        row = self.env.space.indices(record.choices)[None]
        return {each.name: float(each.shares(row)[0]) - 1.0 for each in cost.limits}

    def _numbers(self, choices: Mapping[str, int]) -> dict[str, int]:
        return dict(zip(self.env.space.names, self.env.space.indices(choices).tolist(), strict=True))

    def state_dict(self) -> AgentState:
        """The history, and what samplers keep in the study: generations and their parents."""
        state = super().state_dict()
        noted = [trial.system_attrs for trial in self.study.get_trials(deepcopy=False)]
        of_study = self._storage.get_study_system_attrs(self._study_id)
        return AgentState(state.tensors, state.values | {"optuna": {"trials": noted, "study": of_study}})

    def load_state_dict(self, state: AgentState) -> None:
        """Go on where `state` was taken; the study is rebuilt, trial by trial, with the same numbers.

        Raises:
            RunError: If it is the state of another agent, seed or search space, or not whole.
        """
        super().load_state_dict(state)
        kept = state.values.get("optuna")
        if not isinstance(kept, dict) or len(kept.get("trials", ())) != len(self.history):
            raise RunError("the saved state does not fit this agent: it has no note of every trial")
        self._new_study()
        with quiet():
            for record, noted in zip(self.history, kept["trials"], strict=True):
                self.study.add_trial(self._trial_of(record, noted))
        for name, value in kept["study"].items():
            self._storage.set_study_system_attr(self._study_id, name, value)

    def _trial_of(self, record: EpisodeRecord, noted: Mapping[str, Any]) -> optuna.trial.FrozenTrial:
        return create_trial(
            state=TrialState.COMPLETE,
            params=self._numbers(record.choices),
            distributions=self._distributions,
            values=self._values(record),
            user_attrs=_shown(record),
            system_attrs=dict(noted),
        )

    def _new_study(self) -> None:
        self._storage = optuna.storages.InMemoryStorage()
        directions = [StudyDirection.MAXIMIZE, *([StudyDirection.MINIMIZE] if self.settings.front else [])]
        with quiet():
            self.study = optuna.create_study(storage=self._storage, study_name=self.name, directions=directions)
        self._study_id = self._storage.get_study_id_from_name(self.name)


def _shown(record: EpisodeRecord) -> dict[str, Any]:
    """What a dashboard shows of an episode beside its parameters and its reward."""
    scored = "score" if record.accuracy is None else "accuracy"
    return {scored: record.value, "predicted_cost": record.predicted_cost, "warmup": record.warmup}
