"""Other libraries train on the environment: the discrete form, its masks, and four algorithms."""

import importlib.util
import re

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from autoprune.cost import AdditiveCost, CostEntry
from autoprune.envs import DiscreteActions, PruningEnv, action_for, toy
from autoprune.errors import BudgetError, InputError
from autoprune.space import Decision, SearchSpace
from examples import other_libraries

MASKABLE = pytest.mark.skipif(
    importlib.util.find_spec("sb3_contrib") is None, reason="sb3-contrib is not installed: pip install '.[dev]'"
)
ALGORITHMS = ["ppo", "sac", "td3", pytest.param("maskable-ppo", marks=MASKABLE)]


def discrete(t):
    return gymnasium.make("autoprune/PruningDiscrete-v0", space=t.space, cost=t.cost, limit=t.limit, score=t.score)


@pytest.fixture
def uneven():
    """Decisions with 2 and 4 options; a unit costs 1, and 6 are allowed."""
    space = SearchSpace((Decision("a", 4, (2, 4)), Decision("b", 8, (2, 4, 6, 8))))

    def price(widths):
        return widths[:, 0].astype(float)

    cost = AdditiveCost("flops", "MACs", space, [CostEntry(name, (name,), price) for name in space.names])
    return DiscreteActions(PruningEnv(space, cost, 6.0, lambda choices: 0.5))


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")  # the discrete form is a wrapper
@pytest.mark.parametrize("decisions", [1, 4])
def test_both_checkers_pass(decisions):
    env = discrete(toy(decisions))
    assert isinstance(env.action_space, gymnasium.spaces.Discrete)
    check_env(env, skip_render_check=True)
    check_env_for_sb3(env)


def test_masks_have_the_options_that_the_budget_leaves(uneven):
    uneven.reset()
    assert uneven.action_masks().tolist() == [True, True, False, False]  # `a` has two options
    uneven.step(np.int64(0))
    assert uneven.action_masks().tolist() == [True, True, False, False]  # 2 + 6 is too much
    uneven.reset()
    uneven.step(np.int64(1))
    assert uneven.action_masks().tolist() == [True, False, False, False]
    *_, info = uneven.step(np.int64(3))  # not allowed: the nearest that is
    assert info["choices"] == {"a": 4, "b": 2}
    assert uneven.action_masks().all()  # between two episodes


def test_a_number_beyond_the_options_asks_for_the_widest(uneven):
    uneven.reset()
    *_, info = uneven.step(np.int64(3))
    assert info["choices"] == {"a": 4}


def test_allowed_numbers_are_executed_as_asked_and_equal_the_continuous_form():
    t = toy(5)
    env, plain = discrete(t), t.env()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        env.reset()
        plain.reset()
        done = False
        while not done:
            decision = plain.decision
            mask = env.get_wrapper_attr("action_masks")()
            assert mask.tolist() == plain.allowed().tolist()
            option = rng.choice(np.flatnonzero(mask))
            seen, reward, done, _, info = env.step(option)
            assert info["kept"] == decision.options[option]
            same, same_reward, *_ = plain.step(action_for(decision, decision.options[option]))
            assert np.array_equal(seen, same) and reward == same_reward
        assert info["cost"] <= t.limit


def test_other_environments_have_no_discrete_form():
    with pytest.raises(InputError, match="CartPole"):
        DiscreteActions(gymnasium.make("CartPole-v1"))


def test_an_episode_may_have_a_limit_of_its_own():
    t = toy(4)
    env = t.env()
    for share in (0.4, 0.9, 0.5):
        env.reset(options={"limit": share * t.cost.dense})
        for _ in range(4):
            env.step(env.spend(np.ones(1, dtype=np.float32), 0.1))
        assert (share - 0.25) * t.cost.dense < env.outcome.cost <= share * t.cost.dense
    env.reset()
    for _ in range(4):
        env.step(np.ones(1, dtype=np.float32))
    assert env.outcome.cost <= env.limit == t.limit  # the environment's own again
    with pytest.raises(BudgetError, match="least reachable"):
        env.reset(options={"limit": 0.5 * t.cost.least()[0]})
    with pytest.raises(InputError, match="'limits'"):
        env.reset(options={"limits": 1.0})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_of_another_library_trains_within_the_budget(algorithm):
    torch.set_num_threads(1)
    problem, env, model = other_libraries.train(algorithm, 192)
    assert model.num_timesteps >= 192
    assert env.best[0] == problem.score(env.best[1])
    assert problem.cost.cost(env.best[1]) <= env.most <= problem.limit
    assert env.best[0] <= problem.optimum()[0]


def test_the_example_prints_what_it_found_beside_the_optimum(capsys):
    other_libraries.main(["--algorithm", "ppo", "--steps", "128"])
    found, optimum = (float(each) for each in re.findall(r": +(0\.\d{4})", capsys.readouterr().out))
    assert 0 < found <= optimum
