"""AMC's DDPG (He et al., ECCV 2018, section 3.3) as a delta over stable-baselines3's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DDPG
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.nn import functional

from autoprune.agents.ddpg.noise import truncated_normal
from autoprune.agents.ddpg.replay import EpisodeReplay
from autoprune.agents.ddpg.settings import AMCSettings
from autoprune.envs import PruningEnv, action_for
from autoprune.foundations.seeding import seeded

__all__ = ["AMC"]


class AMC(DDPG):
    """DDPG with what AMC changes: warm-up in episodes, truncated-normal noise, one reward an episode, a baseline.

    `play` plays one episode, of a policy chosen beforehand (the actor's own: `propose`), and then, after the warm-up,
    makes one update a transition. All randomness of episode k comes from generators seeded by (seed, k); no global one
    is touched.

    Args:
        env: The environment to learn from.
        settings: Hyper-parameters.
        episodes: How many there will be, warm-up included; sets the default decay of the noise.
        warmup: Episodes before learning starts.
        seed: Of the networks' weights and of everything drawn.
    """

    replay_buffer: EpisodeReplay

    def __init__(
        self,
        env: PruningEnv,
        settings: AMCSettings,
        *,
        episodes: int,
        warmup: int,
        seed: int,
    ) -> None:
        self.pruning_env = env
        self.settings = settings
        self.warmup, self.episodes = warmup, episodes
        self.losses: dict[str, float] = {}
        self._stream = seed  # not `seed`: stable-baselines3 would seed the global generators with it
        self._script: Mapping[str, int] = {}
        steps = len(env.space)
        with seeded(seed):
            super().__init__(
                "MlpPolicy",
                DummyVecEnv([lambda: env]),
                learning_rate=settings.critic_lr,
                buffer_size=settings.replay_episodes * steps,
                learning_starts=warmup * steps,
                batch_size=settings.batch_size,
                tau=settings.tau,
                gamma=settings.discount,
                train_freq=(1, "episode"),
                gradient_steps=-1,  # as many as there were transitions
                replay_buffer_class=EpisodeReplay,
                replay_buffer_kwargs={"baseline_rate": settings.baseline_rate},
                policy_kwargs={"net_arch": list(settings.hidden)},
                device="cpu",
            )
        for group in self.actor.optimizer.param_groups:
            group["lr"] = settings.actor_lr
        self.set_logger(Logger(folder=None, output_formats=[]))

    def sigma(self, k: int) -> float:
        """Noise of episode `k`, in shares of units kept; 0 in the warm-up, whose policies are prescribed."""
        learning = k - self.warmup
        return self.settings.noise(learning, self.episodes - self.warmup) if learning >= 0 else 0.0

    def adopt(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over the networks of a state, but neither replay nor optimisers.

        Raises:
            RuntimeError: If they are of another shape, or missing.
        """
        self.policy.load_state_dict(_below(tensors, "policy/"))

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the episode was started with, decision by decision."""
        decision = self.pruning_env.decision
        action = action_for(decision, self._script[decision.name])
        return action[None], action[None]

    def play(self, k: int, choices: Mapping[str, int], limit: float) -> None:
        """Play episode `k` and learn from it.

        Args:
            k: Its number.
            choices: What it asks for, kept units by decision.
            limit: What its policy may cost, in the cost's unit.
        """
        assert self.env is not None
        self.env.set_options({"limit": limit})
        self._last_obs = None  # stable-baselines3 resets the environment after an episode, with options only if asked
        self._script = choices
        self.replay_buffer.generator = np.random.default_rng([self._stream, k, 1])
        self.learn(len(self.pruning_env.space), reset_num_timesteps=False)

    def propose(self, k: int, limit: float, rng: np.random.Generator) -> dict[str, int]:
        """The policy that the actor chooses with truncated-normal noise, near the budget's surface; nothing is scored.

        Args:
            k: Of which episode; says how much noise there is.
            limit: What the policy may cost, in the cost's unit.
            rng: Where the noise comes from.

        Returns:
            Kept units by decision.
        """
        return self.pruning_env.preview(lambda observation: self._explore(observation, self.sigma(k), rng), limit)

    def _explore(self, observation: NDArray[np.float32], sigma: float, rng: np.random.Generator) -> NDArray[np.float32]:
        with torch.no_grad():
            mean = (float(self.actor(torch.as_tensor(observation[None]))[0, 0]) + 1.0) / 2.0
        share = truncated_normal(mean, sigma, rng)
        asked = np.array([2.0 * share - 1.0], dtype=np.float32)
        return self.pruning_env.spend(asked, self.settings.slack)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Make `gradient_steps` updates (AMC, equations 3 and 4; Lillicrap et al. 2015, algorithm 1)."""
        self.policy.set_training_mode(True)
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(batch_size)

            # y = (r - b) + discount * Q'(s', mu'(s')); nothing is added behind the last decision
            with torch.no_grad():
                next_actions = self.actor_target(batch.next_observations)
                next_values = self.critic_target.q1_forward(batch.next_observations, next_actions)
                target = batch.rewards + (1.0 - batch.dones) * self.gamma * next_values

            # The critic minimises the squared error to y
            values = self.critic.q1_forward(batch.observations, batch.actions)
            critic_loss = functional.mse_loss(values, target)
            _descend(self.critic.optimizer, critic_loss)

            # The actor maximises Q(s, mu(s))
            actor_loss = -self.critic.q1_forward(batch.observations, self.actor(batch.observations)).mean()
            _descend(self.actor.optimizer, actor_loss)

            # The targets follow slowly
            polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
            polyak_update(self.actor.parameters(), self.actor_target.parameters(), self.tau)
            self._n_updates += 1
            self.losses = {"actor_loss": actor_loss.item(), "critic_loss": critic_loss.item()}

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Everything that the next episode depends on: tensors by name, and plain values."""
        replay, replay_values = self.replay_buffer.state()
        tensors = {f"policy/{name}": tensor for name, tensor in self.policy.state_dict().items()}
        tensors |= {f"replay/{name}": tensor for name, tensor in replay.items()}
        for owner, optimizer in self._optimizers().items():
            for index, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"{owner}/{index}/{name}": tensor for name, tensor in moments.items()}
        counters = {"timesteps": self.num_timesteps, "episode": self._episode_num, "updates": self._n_updates}
        return tensors, {"counters": counters, "replay": replay_values, "losses": self.losses}

    def restore(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        """Take over what `state` gave.

        Raises:
            KeyError, RuntimeError, ValueError: If it is the state of another network or incomplete.
        """
        self.policy.load_state_dict(_below(tensors, "policy/"))
        self.replay_buffer.restore(_below(tensors, "replay/"), values["replay"])
        for owner, optimizer in self._optimizers().items():
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in _below(tensors, f"{owner}/").items():
                index, _, moment = name.partition("/")
                moments.setdefault(int(index), {})[moment] = tensor
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        counters = values["counters"]
        self.num_timesteps, self._episode_num = int(counters["timesteps"]), int(counters["episode"])
        self._n_updates, self.losses = int(counters["updates"]), dict(values["losses"])
        self._last_obs = None  # the next episode starts with a reset

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"actor_optimizer": self.actor.optimizer, "critic_optimizer": self.critic.optimizer}


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step of `optimizer` on its own parameters only: the actor's loss goes through the critic, too."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.zero_grad()
    loss.backward(inputs=parameters)  # type: ignore[no-untyped-call]  # torch's own
    optimizer.step()


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
