"""AMC's deviations from stable-baselines3's DDPG, one by one."""

import numpy as np
import pytest
import torch
from scipy import stats

from autoprune.agents import AgentState, run_search
from autoprune.agents.ddpg.agent import DDPGAgent
from autoprune.agents.ddpg.noise import truncated_normal
from autoprune.agents.ddpg.settings import AMCSettings
from autoprune.envs import action_for, toy
from autoprune.errors import InputError, RunError


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def played(episodes, *, decisions=4, warmup=4, total=20, **settings):
    agent = DDPGAgent(toy(decisions).env(), episodes=total, warmup=warmup, settings=AMCSettings(**settings))
    run_search(agent, episodes, lambda _: None)
    return agent


def test_noise_is_a_normal_distribution_cut_at_0_and_1():
    rng = np.random.default_rng(0)
    for mean, sigma in ((0.5, 0.5), (0.05, 0.3), (0.9, 0.1)):
        draws = [truncated_normal(mean, sigma, rng) for _ in range(4000)]
        reference = stats.truncnorm((0 - mean) / sigma, (1 - mean) / sigma, mean, sigma)
        assert stats.kstest(draws, reference.cdf).pvalue > 0.01
    assert 0 <= truncated_normal(0.0, 1e-9, rng) <= 1e-6  # no nan where the mass is thin


def test_noise_decays_by_the_papers_factor_or_to_suit_the_episodes():
    paper = AMCSettings(decay=0.95)
    assert paper.noise(0, 300) == 0.5
    assert paper.noise(75, 300) > 0.01 > paper.noise(77, 300)
    ours = AMCSettings()
    for learning in (30, 300, 800):
        assert ours.noise(0, learning) == 0.5
        assert ours.noise(int(0.75 * learning), learning) == pytest.approx(0.02, rel=0.15)


def test_two_learning_rates():
    agent = played(6, actor_lr=3e-4, critic_lr=2e-3)
    assert [g["lr"] for g in agent.model.actor.optimizer.param_groups] == [3e-4]
    assert [g["lr"] for g in agent.model.critic.optimizer.param_groups] == [2e-3]


def test_warm_up_is_counted_in_episodes_and_then_one_update_a_transition():
    updates = []
    agent = DDPGAgent(toy(5).env(), episodes=10, warmup=4)
    start = [p.detach().clone() for p in agent.model.actor.parameters()]
    for k in range(8):
        agent.episode(k)
        updates.append(agent.model._n_updates)
        moved = any(not torch.equal(a, b) for a, b in zip(start, agent.model.actor.parameters(), strict=True))
        assert moved == (k >= 4)
    assert updates == [0, 0, 0, 0, 5, 10, 15, 20]


def test_replay_holds_executed_actions_and_the_final_reward_on_every_transition():
    agent = played(7)
    t, replay = toy(4), agent.model.replay_buffer
    for k, record in enumerate(agent.history):
        at = slice(4 * k, 4 * k + 4)
        np.testing.assert_allclose(replay.rewards[at, 0], record.reward, rtol=1e-6)
        expected = [action_for(d, record.choices[d.name])[0] for d in t.space.decisions]
        np.testing.assert_array_equal(replay.actions[at, 0, 0], np.array(expected, dtype=np.float32))
        np.testing.assert_array_equal(replay.dones[at, 0], [0, 0, 0, 1])
        np.testing.assert_array_equal(replay.observations[at, 0][1:], replay.next_observations[at, 0][:-1])


def test_rewards_are_sampled_minus_their_moving_average():
    agent = played(6, baseline_rate=0.5)
    rewards = [record.reward for record in agent.history]
    average = 0.0
    for count, reward in enumerate(rewards, 1):
        rate = max(0.5, 1 / count)
        average = (1 - rate) * average + rate * reward
    replay = agent.model.replay_buffer
    assert replay.baseline == pytest.approx(average)
    sampled = replay.sample(500).rewards.numpy()
    np.testing.assert_allclose(np.unique(sampled + average), np.unique(np.float32(rewards)), atol=1e-6)


def test_an_old_episode_leaves_a_full_replay_first():
    agent = played(6, replay_episodes=4)
    rewards = agent.model.replay_buffer.rewards.reshape(4, 4)
    np.testing.assert_allclose(rewards[:, 0], [agent.history[k].reward for k in (4, 5, 2, 3)], rtol=1e-6)


def test_update_follows_the_equations():
    """One update by hand, with plain torch, from the same state and the same batch."""
    agent = played(6, tau=0.1)
    model = agent.model
    model.replay_buffer.generator = np.random.default_rng(5)
    batch = model.replay_buffer.sample(64)
    model.replay_buffer.generator = np.random.default_rng(5)
    with torch.no_grad():
        value = model.critic_target.q1_forward(batch.next_observations, model.actor_target(batch.next_observations))
        target = batch.rewards + (1 - batch.dones) * value
        error = (model.critic.q1_forward(batch.observations, batch.actions) - target).square().mean().item()
    old_target = [p.detach().clone() for p in model.critic_target.parameters()]
    model.train(1, 64)
    assert model.losses["critic_loss"] == pytest.approx(error, rel=1e-5)
    for old, new, online in zip(old_target, model.critic_target.parameters(), model.critic.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * online)
    assert batch.dones.sum() > 0


def test_a_restored_agent_has_bit_for_bit_the_same_networks_and_replay(tmp_path):
    whole = played(16)
    first = played(9)
    first.state_dict().save(tmp_path / "state")
    second = DDPGAgent(toy(4).env(), episodes=20, warmup=4, settings=AMCSettings())
    second.load_state_dict(AgentState.load(tmp_path / "state"))
    run_search(second, 16, lambda _: None, rows=first.history)
    a, b = whole.state_dict(), second.state_dict()
    assert a.tensors.keys() == b.tensors.keys()
    assert len([name for name in a.tensors if name.startswith("critic_optimizer/")]) == 18
    for name, tensor in a.tensors.items():
        assert torch.equal(tensor, b.tensors[name]), name
    assert a.values["amc"] == b.values["amc"]


def test_damaged_states_are_refused(tmp_path):
    agent = played(6)
    state = agent.state_dict()
    state.save(tmp_path / "state")
    content = (tmp_path / "state").read_bytes()
    for broken in (b"", content[:100], content[:-7], b"\x80\x04" + content):
        (tmp_path / "broken").write_bytes(broken)
        with pytest.raises(RunError, match="not an agent's state"):
            AgentState.load(tmp_path / "broken")
    fresh = DDPGAgent(toy(4).env(), episodes=20, warmup=4)
    with pytest.raises(RunError, match="does not fit"):
        fresh.load_state_dict(AgentState({}, state.values))
    small = DDPGAgent(toy(4).env(), episodes=20, warmup=4, settings=AMCSettings(hidden=(32, 32)))
    with pytest.raises(RunError, match="does not fit"):
        small.load_state_dict(state)


@pytest.mark.parametrize(
    "bad",
    [
        {"actor_lr": 0.0},
        {"tau": 2.0},
        {"slack": -0.1},
        {"decay": 0.0},
        {"neighbours": 1.5},
        {"batch_size": 0},
        {"hidden": (0,)},
    ],
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(InputError):
        AMCSettings(**bad)


def test_scalars_name_noise_average_and_losses():
    agent = played(6)
    scalars = agent.scalars()
    assert scalars.keys() == {"noise_sigma", "reward_average", "actor_loss", "critic_loss"}
    assert scalars["noise_sigma"] == AMCSettings().noise(1, 16)
