"""One DDPG agent for several budgets, which it sees, and one that starts from another run's."""

import numpy as np
import pytest
import torch

from autoprune import agents
from autoprune.agents import Agent, AgentState, best, run_search
from autoprune.agents.ddpg.agent import DDPGAgent
from autoprune.agents.ddpg.settings import AMCSettings
from autoprune.agents.limits import limit_of
from autoprune.envs import PruningEnv, toy
from autoprune.errors import InputError


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeing(t):
    return PruningEnv(t.space, t.cost, t.limit, t.score, shows_limit=True)


def fresh(t, episodes=30, **options):
    settings = AMCSettings(hidden=(64, 64), front=True)
    return DDPGAgent(seeing(t), episodes=episodes, warmup=8, settings=settings, **options)


def test_the_limit_is_a_column_of_the_observation():
    t = toy(4)
    env, plain = seeing(t), t.env()
    assert env.observation_space.shape[0] == plain.observation_space.shape[0] + 1
    for share in (0.4, 0.7):
        seen, _ = env.reset(options={"limit": share * t.cost.dense})
        same, _ = plain.reset()
        assert np.array_equal(seen[:-1], same) and seen[-1] == pytest.approx(share)
        assert env.observation_space.contains(env.step(np.zeros(1, dtype=np.float32))[0])


def test_every_episode_has_its_own_limit_and_resumes(tmp_path):
    t = toy(4)
    first, second = fresh(t), fresh(t)
    whole = run_search(first, 30, lambda _: None)
    for record in whole:
        limit = limit_of(record.episode, t.cost, t.limit)
        assert record.predicted_cost <= limit
        assert record.predicted_cost > 0.6 * limit  # and spends it
    part = fresh(t)
    run_search(part, 17, lambda _: None)
    part.state_dict().save(tmp_path / "state.safetensors")
    second.load_state_dict(AgentState.load(tmp_path / "state.safetensors"))
    resumed = run_search(second, 30, lambda _: None, rows=whole[:20])
    assert [r.choices for r in resumed] == [r.choices for r in whole]


def test_one_agent_gives_a_policy_for_each_of_several_budgets():
    t = toy(5)
    agent = DDPGAgent(seeing(t), episodes=160, settings=AMCSettings(front=True))
    records = run_search(agent, 160, lambda _: None)
    for share in (0.5, 0.6, 0.75):
        there = toy(5, keep=share)
        found = best([r for r in records if r.predicted_cost <= there.limit])[0]
        (uniform,) = run_search(agents.get("uniform")(there.env(), episodes=1), 1, lambda _: None)
        assert uniform.accuracy < found.accuracy <= there.optimum()[0]


def test_one_agent_plays_several_budgets_in_turn_and_gives_a_policy_for_each():
    shares = (0.4, 0.5, 0.6, 0.75)
    each = [toy(5, keep=share) for share in shares]
    t = each[2]  # the environment's own budget is one of them
    agent = DDPGAgent(seeing(t), episodes=160, limits=[other.limit for other in each])
    records = run_search(agent, 160, lambda _: None)
    for record in records:
        limit = each[record.episode % 4].limit
        assert 0.8 * limit < record.predicted_cost <= limit
    for other in each:
        found = best([r for r in records if r.predicted_cost <= other.limit])[0]
        (uniform,) = run_search(agents.get("uniform")(other.env(), episodes=1), 1, lambda _: None)
        assert uniform.accuracy < found.accuracy <= other.optimum()[0]


def test_seed_policies_of_several_budgets_are_played_under_their_own():
    each = [toy(4, keep=share) for share in (0.4, 0.7)]
    seeds = [agents.get("greedy")(other.env(), episodes=1).answers()[0] for other in each]
    agent = DDPGAgent(seeing(each[1]), episodes=6, seed_policies=seeds, limits=[other.limit for other in each])
    records = run_search(agent, 6, lambda _: None)
    assert [record.choices for record in records[:2]] == seeds


def test_agents_that_do_not_see_the_budget_refuse_several():
    t = toy(3)
    for name in agents.AGENTS:
        kind = agents.get(name)
        if not kind.serves_several_budgets:
            with pytest.raises(InputError, match="under one budget"):
                kind(t.env(), episodes=4, limits=[t.limit, 2 * t.limit])
    with pytest.raises(InputError, match="shows_limit"):
        DDPGAgent(t.env(), episodes=4, limits=[t.limit, 2 * t.limit])


def test_an_agent_of_several_budgets_has_to_see_them():
    with pytest.raises(InputError, match="shows_limit"):
        DDPGAgent(toy(3).env(), episodes=4, settings=AMCSettings(front=True))


def test_a_warm_start_takes_over_the_networks_alone():
    small, large = toy(4), toy(6, seed=3)
    first, cold, warm = fresh(small), fresh(large), fresh(large)
    run_search(first, 30, lambda _: None)
    warm.start_from(first.state_dict())
    learned = first.model.policy.state_dict()
    assert all(torch.equal(learned[name], value) for name, value in warm.model.policy.state_dict().items())
    assert warm.played == 0 and warm.model.replay_buffer.size() == 0
    after, other = (run_search(agent, 30, lambda _: None) for agent in (warm, cold))
    assert [r.choices for r in after[:8]] == [r.choices for r in other[:8]]  # the warm-up is the same
    assert [r.choices for r in after[8:]] != [r.choices for r in other[8:]]


def test_states_that_do_not_fit_a_warm_start_are_refused():
    t = toy(4)
    with pytest.raises(InputError, match="do not fit"):
        fresh(t).start_from(DDPGAgent(t.env(), episodes=4).state_dict())
    with pytest.raises(InputError, match="not of random"):
        fresh(t).start_from(agents.get("random")(t.env(), episodes=4).state_dict())
    for name in agents.AGENTS:
        kind = agents.get(name)
        assert kind.warm_starts == (kind.start_from is not Agent.start_from)
    with pytest.raises(InputError, match="learns nothing"):
        agents.get("random")(t.env(), episodes=4).start_from(AgentState())
