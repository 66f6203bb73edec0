"""AMC's replay: the final reward on every transition, the executed action, and a baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

__all__ = ["EpisodeReplay"]

_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones")


class EpisodeReplay(ReplayBuffer):
    """A replay buffer that relabels when an episode ends, and samples from its owner's generator.

    Stored is the action that the environment executed, not the one that was asked for. When an episode ends, its
    reward is written onto every transition of it. Rewards are sampled minus a moving average of episodes' rewards.

    Args:
        buffer_size: Transitions to hold, at least one episode.
        observation_space: Of the environment.
        action_space: Of the environment.
        baseline_rate: Weight of the newest episode in the moving average, in (0, 1].
        device: Where samples go.
        n_envs: 1.
        optimize_memory_usage: False.

    Attributes:
        baseline: Moving average of rewards; 0 before the first episode.
        generator: Draws the batches; set by the owner at the start of an episode.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "cpu",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        baseline_rate: float = 0.05,
    ) -> None:
        super().__init__(buffer_size, observation_space, action_space, device, n_envs, optimize_memory_usage)
        self.baseline_rate = baseline_rate
        self.baseline = 0.0
        self.generator = np.random.default_rng(0)
        self._episodes = 0
        self._open = 0  # transitions of the episode that has not ended yet

    def add(
        self,
        obs: NDArray[Any],
        next_obs: NDArray[Any],
        action: NDArray[Any],
        reward: NDArray[Any],
        done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Store one transition, with the executed action; relabel the episode if it ends here."""
        super().add(obs, next_obs, infos[0]["executed_action"], reward, done, infos)
        self._open += 1
        if done[0]:
            self._relabel(float(reward[0]))
            self._open = 0

    def _relabel(self, reward: float) -> None:
        self.rewards[(self.pos - 1 - np.arange(self._open)) % self.buffer_size] = reward
        self._episodes += 1
        rate = max(self.baseline_rate, 1.0 / self._episodes)  # a plain mean at first, so that no zero fades out
        self.baseline += rate * (reward - self.baseline)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Draw transitions with replacement, from the owner's generator; rewards come minus the baseline."""
        batch = self.generator.integers(0, self.size(), size=batch_size)
        return ReplayBufferSamples(
            self.to_torch(self.observations[batch, 0]),
            self.to_torch(self.actions[batch, 0]),
            self.to_torch(self.next_observations[batch, 0]),
            self.to_torch(self.dones[batch]),
            self.to_torch(self.rewards[batch] - np.float32(self.baseline)),
        )

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """What is stored: tensors of the filled part, and plain values."""
        tensors = {name: torch.from_numpy(getattr(self, name)[: self.size()].copy()) for name in _ARRAYS}
        values = {"pos": self.pos, "full": self.full, "baseline": self.baseline, "episodes": self._episodes}
        return tensors, values

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        for name in _ARRAYS:
            getattr(self, name)[: len(tensors[name])] = tensors[name].numpy()
        self.pos, self.full = int(values["pos"]), bool(values["full"])
        self.baseline, self._episodes, self._open = float(values["baseline"]), int(values["episodes"]), 0
