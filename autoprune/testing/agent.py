"""What every agent must do.

Subclass `AgentTests` in a test module, name it `Test...`, and name the class to be tested:

    class TestMine(AgentTests):
        agent = Mine

The tests play a small pruning problem whose optimum is known (`autoprune.envs.toy`), without a network; each takes
fractions of a second. They need pytest.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autoprune.agents import Agent, AgentState, EpisodeRecord, best, get, run_search
from autoprune.cost import AdditiveCost
from autoprune.envs import AccuracyGuaranteed, PruningEnv, largest_uniform, toy
from autoprune.errors import AutopruneError, InputError, RunError

__all__ = ["AgentTests"]

EPISODES, WARMUP = 14, 5


class AgentTests:
    """Tests of one agent.

    Attributes:
        agent: The class.
        draws: Whether chance has a part in it, so that other seeds give other searches and all costs are tried.
    """

    agent: type[Agent]
    draws: bool = True

    @pytest.fixture(autouse=True)
    def one_thread(self) -> Iterator[None]:
        """Small tensors are slower, and sums not the same, on several threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)

    def make(self, *, seed: int = 0, env: Any = None, **options: Any) -> Agent:
        """A new agent, on a toy problem of four decisions if no environment is given."""
        return self.agent(env or toy(4).env(), episodes=EPISODES, warmup=WARMUP, seed=seed, **options)

    def play(self, agent: Agent, rows: Sequence[EpisodeRecord] = ()) -> tuple[list[EpisodeRecord], list[EpisodeRecord]]:
        """A whole search, resumed from `rows`: all episodes, and those of them that were logged anew."""
        logged: list[EpisodeRecord] = []
        records = run_search(agent, EPISODES, logged.append, rows=rows)
        return records, logged

    def test_every_episode_is_within_the_limit_and_priced_as_logged(self) -> None:
        """Each row holds what was executed: its cost, score and reward are computed again here."""
        t = toy(4)
        records, logged = self.play(self.make(env=t.env()))
        assert records == logged
        assert [record.episode for record in records] == list(range(len(records)))
        for record in records:
            assert t.space.complete(record.choices) == record.choices
            assert record.predicted_cost == t.cost.cost(record.choices) <= t.limit
            assert record.value == t.score(record.choices)
            assert record.reward == record.value - 1
            assert record.agent == self.agent.name
            assert record.warmup == (record.episode < min(WARMUP, len(records)))

    @pytest.mark.parametrize("keep", [0.1, 0.95])
    def test_tight_and_loose_budgets(self, keep: float) -> None:
        """A limit at which one policy is feasible, and one that nearly all policies meet."""
        t = toy(4, keep=max(keep, toy(4).cost.least()[0] / toy(4).cost.dense + 1e-9))
        records, _ = self.play(self.make(env=t.env()))
        assert all(t.cost.cost(record.choices) <= t.limit for record in records)

    def test_a_single_decision_is_enough(self) -> None:
        """A network with one layer to prune."""
        t = toy(1)
        records, _ = self.play(self.make(env=t.env()))
        assert best(records)[0].value <= t.optimum()[0]

    def test_one_seed_one_search(self) -> None:
        """Equal seeds give equal episodes, but for the seconds."""
        first, second = self.play(self.make(seed=3))[0], self.play(self.make(seed=3))[0]
        assert rows_of(first) == rows_of(second)

    def test_another_seed_another_search(self) -> None:
        """Of an agent that draws, other seeds give other episodes."""
        self._needs_chance()
        first, second = self.play(self.make(seed=3))[0], self.play(self.make(seed=4))[0]
        assert [r.choices for r in first] != [r.choices for r in second]

    def test_global_generators_are_left_alone(self) -> None:
        """An agent owns its generators; those of torch, random and NumPy are not drawn from."""
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002  # the global state is what is looked at
        before = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)["state"]  # noqa: NPY002
        self.play(self.make())
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
        np.testing.assert_equal(np.random.get_state(legacy=False)["state"], before[2])  # noqa: NPY002

    def test_global_generators_make_no_difference(self) -> None:
        """Nor does it matter what others draw from them."""
        reference, _ = self.play(self.make(seed=1))
        agent = self.make(seed=1)

        def disturb(_: EpisodeRecord) -> None:
            torch.rand(3)
            random.random()
            np.random.rand(3)  # noqa: NPY002

        assert rows_of(run_search(agent, EPISODES, disturb)) == rows_of(reference)

    @pytest.mark.parametrize("stop", [0, 1, 5, 6, 9, 13])
    def test_a_resumed_search_is_the_uninterrupted_one(self, stop: int, tmp_path: Path) -> None:
        """Stopped after `stop` episodes and restored from a file, in a fresh environment that knows nothing."""
        whole, _ = self.play(self.make())
        first = self.make()
        head = run_search(first, min(stop, len(whole)), lambda _: None)
        first.state_dict().save(tmp_path / "state.safetensors")
        second = self.make()
        second.load_state_dict(AgentState.load(tmp_path / "state.safetensors"))
        records, logged = self.play(second, rows=plain(head))
        assert rows_of(records) == rows_of(whole)
        assert rows_of(logged) == rows_of(whole[len(head) :])
        assert second.env.memory.evaluations == sum(not record.cached for record in logged)

    @pytest.mark.parametrize(("saved", "stop"), [(None, 9), (4, 11), (7, 9)])
    def test_rows_after_the_checkpoint_are_replayed_and_never_evaluated_again(
        self, saved: int | None, stop: int
    ) -> None:
        """A run that was killed between two checkpoints resumes from its rows."""
        whole, _ = self.play(self.make())
        stop = min(stop, len(whole))
        second = self.make()
        if saved is not None:
            first = self.make()
            run_search(first, min(saved, len(whole)), lambda _: None)
            second.load_state_dict(first.state_dict())
        records, logged = self.play(second, rows=plain(whole[:stop]))
        assert rows_of(records) == rows_of(whole)
        assert records[:stop] == whole[:stop]  # seconds and all: the rows that were logged
        assert rows_of(logged) == rows_of(whole[stop:])
        assert second.env.memory.evaluations == sum(not record.cached for record in whole[stop:])

    @pytest.mark.parametrize(("saved", "stop"), [(None, 3), (5, 7), (9, 12)])
    def test_a_search_in_rounds_resumes_within_a_round(self, saved: int | None, stop: int) -> None:
        """From its rows, or from a state between two rounds; a second search in rounds is the same one."""
        whole = run_search(self.make(), EPISODES, lambda _: None, batch=4)
        head, second = plain(whole[:stop]), self.make()
        if saved is not None:
            first = self.make()
            run_search(first, min(saved, len(whole)), lambda _: None, batch=4)
            second.load_state_dict(first.state_dict())
        logged: list[EpisodeRecord] = []
        records = run_search(second, EPISODES, logged.append, rows=head, batch=4)
        assert rows_of(records) == rows_of(whole)
        assert rows_of(logged) == rows_of(whole[len(head) :])
        assert second.env.memory.evaluations == sum(not record.cached for record in logged)

    def test_a_round_is_chosen_before_it_is_scored(self) -> None:
        """What is planned is executed as it is, nothing is scored for it, and the agent has a state only afterwards."""
        agent = self.make()
        while not agent.finished:
            before = agent.env.memory.evaluations
            planned = agent.plan(4)
            assert agent.env.memory.evaluations == before
            for each in planned:
                with pytest.raises(AutopruneError, match="interrupted"):
                    agent.state_dict()
                record = agent.play()
                assert (record.episode, record.choices) == (each.number, each.choices)
            agent.state_dict()

    def test_a_lost_row_is_logged_again_from_the_state(self) -> None:
        """A checkpoint that is ahead of the rows."""
        first = self.make()
        head = run_search(first, min(6, EPISODES), lambda _: None)
        second = self.make()
        second.load_state_dict(first.state_dict())
        _, logged = self.play(second, rows=plain(head[:-1]))
        assert logged[0] == head[-1]

    def test_a_search_that_comes_out_differently_is_refused(self) -> None:
        """Rows that this agent would not have written."""
        whole, _ = self.play(self.make())
        wrong = whole[0].model_copy(update={"predicted_cost": whole[0].predicted_cost + 1})
        with pytest.raises(AutopruneError, match="came out differently"):
            self.play(self.make(), rows=[wrong])

    def test_repeated_policies_are_scored_once(self) -> None:
        """And every other policy exactly once."""
        t = toy(2, options=3)
        calls: list[tuple[int, ...]] = []

        def score(choices: Mapping[str, int]) -> float:
            calls.append(tuple(choices.values()))
            return t.score(choices)

        records, _ = self.play(self.make(env=PruningEnv(t.space, t.cost, t.limit, score)))
        assert len(calls) == len(set(calls)) == len({tuple(r.choices.values()) for r in records})
        assert [r.cached for r in records].count(False) == len(calls)

    def test_the_search_never_ends_below_what_it_was_given(self) -> None:
        """Seed policies are played first and as they are."""
        t = toy(6, seed=5)
        uniform, optimum = largest_uniform(t.cost, t.limit), t.optimum()
        assert uniform is not None
        records, _ = self.play(self.make(env=t.env(), seed_policies=[uniform]))
        assert best(records)[0].value >= t.score(uniform)
        assert records[0].choices == uniform
        if not self.agent.is_baseline:
            records, _ = self.play(self.make(env=t.env(), seed_policies=[uniform, optimum[1]]))
            assert best(records)[0].value == pytest.approx(optimum[0])

    def test_states_of_others_are_refused(self) -> None:
        """A state names its agent, seed and decisions."""
        state = self.make().state_dict()
        with pytest.raises(RunError, match="seed"):
            self.make(seed=1).load_state_dict(state)
        with pytest.raises(RunError, match="decisions"):
            self.make(env=toy(5).env()).load_state_dict(state)
        with pytest.raises(RunError, match="agent"):
            self._another().load_state_dict(state)

    def test_scalars_are_finite_numbers(self) -> None:
        """What TensorBoard is given."""
        agent = self.make()
        self.play(agent)
        assert all(np.isfinite(value) and isinstance(value, float) for value in agent.scalars().values())

    def test_bad_settings_and_wrong_episodes_are_refused(self) -> None:
        """All by an `InputError`."""
        env = toy(2).env()
        wrong: list[dict[str, Any]] = [{"episodes": 0}, {"episodes": 5, "seed": -1}, {"episodes": 5, "warmup": -1}]
        for bad in wrong:
            with pytest.raises(InputError):
                self.agent(env, **bad)
        with pytest.raises(InputError, match="next episode is 0"):
            self.agent(env, episodes=5).episode(3)
        with pytest.raises(InputError, match="no decision"):
            self.agent(env, episodes=5, seed_policies=[{"nowhere": 1}])

    def test_costs_without_order_are_kept_too(self) -> None:
        """Budgets hold although wider layers may cost less."""
        t = toy(4)
        rng = np.random.default_rng(0)
        cost = AdditiveCost(t.cost.kind, t.cost.unit, t.space, t.cost.entries)
        for term in cost.terms:
            assert term.table is not None
            term.table[...] = rng.permutation(term.table.ravel()).reshape(term.table.shape)
        limit = 0.5 * (cost.least()[0] + cost.dense)
        records, _ = self.play(self.make(env=PruningEnv(t.space, cost, limit, t.score)))
        assert all(cost.cost(record.choices) <= limit for record in records)

    def test_an_interrupted_episode_leaves_no_half_state(self) -> None:
        """A state in mid-episode would resume wrongly."""
        t = toy(4)
        interrupted: list[bool] = []

        def score(choices: Mapping[str, int]) -> float:
            if interrupted == [True]:
                raise KeyboardInterrupt
            return t.score(choices)

        agent = self.make(env=PruningEnv(t.space, t.cost, t.limit, score))
        if not self.agent.is_baseline:
            agent.episode(0)
        interrupted.append(True)
        with pytest.raises(KeyboardInterrupt):
            agent.episode(agent.played)
        with pytest.raises(AutopruneError, match="interrupted"):
            agent.state_dict()

    def test_without_a_budget_the_whole_range_of_costs_is_explored(self) -> None:
        """With a reward that trades accuracy for cost instead of a limit."""
        self._needs_chance()
        t = toy(4)
        reward = AccuracyGuaranteed(scale=100)
        records, _ = self.play(self.make(env=PruningEnv(t.space, t.cost, np.inf, t.score, reward=reward)))
        shares = [record.predicted_cost / t.cost.dense for record in records]
        assert max(shares) - min(shares) > 0.3
        for record in records:
            assert record.reward == pytest.approx((record.value - 1) * np.log(100 * record.predicted_cost))

    def _needs_chance(self) -> None:
        if not self.draws:
            pytest.skip(f"{self.agent.name} draws nothing")

    def _another(self) -> Agent:
        """An agent of another name."""
        name = "uniform" if self.agent.name != "uniform" else "random"
        return get(name)(toy(4).env(), episodes=EPISODES, warmup=WARMUP)


def rows_of(records: Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    """Records but for what may differ from one machine or session to another."""
    return [record.model_dump(exclude={"seconds", "cached"}) for record in records]


def plain(records: Sequence[EpisodeRecord]) -> list[EpisodeRecord]:
    """Records as they come back from their rows."""
    return [EpisodeRecord.from_row(record.to_row()) for record in records]
