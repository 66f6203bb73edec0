"""The environment: both checkers, its accounts, its rounding, and what it promises to anyone who steps it."""

import copy
import math
import pickle
from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from autoprune.cost import AdditiveCost, CostEntry
from autoprune.envs import PruningEnv, ScoreMemory, action_for, toy
from autoprune.envs.observation import static_columns
from autoprune.errors import AutopruneError, BudgetError, InputError
from autoprune.space import Decision, SearchSpace


def act(value):
    return np.array([value], dtype=np.float32)


def play(env, actions):
    return [env.reset(), *(env.step(action) for action in actions)]


def random_actions(count, seed):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 1)).astype(np.float32)


@dataclass(frozen=True)
class Table:
    prices: tuple[float, ...]

    def __call__(self, widths):
        return np.asarray(self.prices)[widths[:, 0] - 1]


@dataclass(frozen=True)
class Counting:
    calls: list

    def __call__(self, choices):
        self.calls.append(choices)
        return 0.75


@pytest.mark.parametrize("decisions", [1, 2, 6])
@pytest.mark.parametrize("features", [None, 6])
def test_both_checkers_pass_without_a_warning(decisions, features):
    t = toy(decisions)
    table = None if features is None else np.random.default_rng(0).uniform(1, 64, (decisions, features))
    env = gymnasium.make(
        "autoprune/Pruning-v0", space=t.space, cost=t.cost, limit=t.limit, score=t.score, features=table
    )
    check_env(env.unwrapped)
    check_env_for_sb3(env.unwrapped)
    assert env.observation_space.shape == ((11 if features else 6),)


@pytest.mark.parametrize("coupled", [True, False])
def test_the_accounts_add_up_to_the_dense_cost_at_every_step(coupled):
    t = toy(6, coupled=coupled)
    for seed in range(20):
        steps = play(t.env(), random_actions(6, seed))
        for *_, info in steps:
            assert sum(info["accounting"].values()) == pytest.approx(t.cost.dense)
        assert steps[0][1]["accounting"]["removed"] == pytest.approx(0)
        assert steps[-2][-1]["accounting"]["rest"] == 0  # before the last decision
        end = steps[-1][-1]
        assert end["accounting"]["kept"] == pytest.approx(end["cost"])
        assert end["cost"] == t.cost.cost(end["choices"]) <= t.limit


def test_reward_comes_at_the_end_and_nothing_is_ever_truncated():
    t = toy(4)
    for step, (_, reward, terminated, truncated, info) in enumerate(play(t.env(), random_actions(4, 1))[1:]):
        assert terminated == (step == 3)
        assert truncated is False
        assert reward == (t.score(info["choices"]) - 1 if terminated else 0.0)
        assert ("accuracy" in info) == terminated


def test_the_next_observation_describes_the_next_decision():
    t = toy(5)
    features = np.arange(10, dtype=float).reshape(5, 2) ** 2
    env = PruningEnv(t.space, t.cost, t.limit, t.score, features)
    static = static_columns(t.space, t.cost, features)
    steps = play(env, random_actions(5, 2))
    for decision in range(5):
        np.testing.assert_array_equal(steps[decision][0][:4], static[decision])
    np.testing.assert_array_equal(steps[5][0][:4], 0)
    for _, _, _, _, info in steps[1:]:
        kept = info["kept"]
        assert kept == info["choices"][info["decision"]]
        assert info["executed_action"] == pytest.approx(2 * kept / t.space[info["decision"]].width - 1)


def test_observation_columns_by_hand():
    space = SearchSpace((Decision("a", 2, (1, 2)), Decision("b", 4, (1, 2, 3, 4))))
    entries = [CostEntry("a", ("a",), Table((1.0, 4.0))), CostEntry("b", ("b",), Table((2.0, 3.0, 5.0, 6.0)))]
    env = PruningEnv(space, AdditiveCost("latency", "ms", space, entries), 7.5, Counting([]), None)
    first, _ = env.reset()
    second, *_ = env.step(act(-1))
    end, reward, done, _, info = env.step(act(1))
    # index, width, own cost | removed, rest, last share; dense is 10
    np.testing.assert_allclose(first, [0, 0, 0, 0.0, 0.6, 1.0], rtol=1e-6)
    np.testing.assert_allclose(second, [1, 1, 1, 0.3, 0.0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(end, [0, 0, 0, 0.3, 0.0, 1.0], rtol=1e-6)
    assert (reward, done, info["cost"], info["accuracy"]) == (-0.25, True, 7.0, 0.75)


def test_an_action_keeps_the_nearest_allowed_option_and_the_wider_on_a_tie():
    space = SearchSpace((Decision("a", 8, (2, 4, 8)),))
    cost = AdditiveCost("params", "parameters", space, [CostEntry("a", ("a",), Table(tuple(range(1, 9))))])
    env = PruningEnv(space, cost, 100.0, Counting([]))
    for value, kept in [(-1, 2), (-0.4, 2), (-0.25, 4), (0, 4), (0.45, 4), (0.5, 8), (1, 8), (7.0, 8)]:
        env.reset()
        assert env.step(act(value))[-1]["kept"] == kept
    walled = PruningEnv(space, cost, 5.0, Counting([]))
    walled.reset()
    assert walled.step(act(1))[-1]["kept"] == 4


def test_the_executed_action_asks_for_exactly_what_was_executed():
    t = toy(6)
    env = t.env()
    for seed in range(10):
        first = play(env, random_actions(6, seed))
        again = play(env, [info["executed_action"] for *_, info in first[1:]])
        assert again[-1][-1]["choices"] == first[-1][-1]["choices"]


def test_two_copies_stay_in_lockstep_and_a_pickle_goes_on_in_mid_episode():
    env = toy(6).env()
    env.reset(seed=3)
    actions = random_actions(6, 4)
    for action in actions[:3]:
        env.step(action)
    others = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    for action in actions[3:]:
        observation, reward, done, _, info = env.step(action)
        for other in others:
            there = other.step(action)
            np.testing.assert_array_equal(there[0], observation)
            assert (there[1], there[2], there[4]["choices"]) == (reward, done, info["choices"])


def test_a_preview_is_the_episode_without_its_score():
    t = toy(5)
    for seed in range(5):
        actions = random_actions(5, seed)
        env, limit = t.env(), (0.4 + 0.1 * seed) * t.cost.dense
        script = iter(actions)
        seen = env.preview(lambda _, script=script: next(script), limit)
        assert env.memory.evaluations == 0 and env.outcome is None
        env.reset(options={"limit": limit})
        for action in actions:
            env.step(action)
        assert env.outcome.choices == seen and env.outcome.cost <= limit


def test_a_known_policy_is_not_evaluated_again():
    t = toy(3)
    calls = []
    env = PruningEnv(t.space, t.cost, t.limit, Counting(calls))
    for _ in range(3):
        play(env, random_actions(3, 0))
    assert len(calls) == 1 == env.memory.evaluations
    assert env.outcome.repeated
    memory = ScoreMemory(t.score)
    memory.remember(env.outcome.choices, 0.5)
    informed = PruningEnv(t.space, t.cost, t.limit, memory)
    play(informed, random_actions(3, 0))
    assert (informed.outcome.score, memory.evaluations) == (0.5, 0)


def test_spending_actions_use_the_budget_and_still_keep_it():
    t = toy(6)
    env = t.env()
    for value in (-1.0, -0.5, 0.0):
        env.reset()
        for _ in t.space.decisions:
            env.step(env.spend(act(value), 0.1))
        assert 0.9 * t.limit <= env.outcome.cost <= t.limit
        env.reset()
        for _ in t.space.decisions:
            env.step(env.spend(act(value), 1.0))
        spent = env.outcome
        play(env, [act(value)] * 6)
        assert spent == env.outcome or spent.choices == env.outcome.choices


def test_spending_does_not_force_a_width_where_the_budget_cannot_be_spent():
    space = SearchSpace((Decision("a", 4, (2, 4)), Decision("b", 4, (2, 4))))
    price = Table((0.0, 1.0, 0.0, 10.0))
    cost = AdditiveCost("latency", "ms", space, [CostEntry(n, (n,), price) for n in "ab"])
    env = PruningEnv(space, cost, 9.0, Counting([]))  # only 1 + 1 fits
    env.reset()
    for _ in "ab":
        env.step(env.spend(act(1), 0.05))
    assert env.outcome.choices == {"a": 2, "b": 2}


def test_without_a_budget_the_dense_network_can_be_had():
    t = toy(4)
    env = PruningEnv(t.space, t.cost, math.inf, t.score)
    play(env, [act(1)] * 4)
    assert env.outcome.choices == t.space.dense
    assert env.outcome.reward == 0


def test_what_is_refused():
    t = toy(3)
    env = t.env()
    play(env, [act(0)] * 3)
    with pytest.raises(InputError, match="reset"):
        env.step(act(0))
    env.reset()
    for bad in (act(math.nan), np.zeros(2, dtype=np.float32)):
        with pytest.raises(InputError, match="one finite number"):
            env.step(bad)
    with pytest.raises(BudgetError, match="least reachable"):
        PruningEnv(t.space, t.cost, 0.001, t.score)
    with pytest.raises(InputError, match="another search space"):
        PruningEnv(toy(4).space, t.cost, t.limit, t.score)
    with pytest.raises(InputError, match="shape"):
        PruningEnv(t.space, t.cost, t.limit, t.score, np.zeros((4, 6)))
    with pytest.raises(AutopruneError, match="finite"):
        play(PruningEnv(t.space, t.cost, t.limit, lambda _: math.nan), [act(0)] * 3)


def test_action_for_inverts_the_mapping():
    decision = Decision("a", 48, tuple(range(1, 49)))
    for kept in decision.options:
        assert action_for(decision, kept)[0] == pytest.approx(2 * kept / 48 - 1)
