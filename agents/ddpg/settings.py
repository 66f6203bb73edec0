"""AMC's hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from autoprune.agents.ddpg.noise import default_decay
from autoprune.errors import InputError

__all__ = ["AMCSettings"]


@dataclass(frozen=True)
class AMCSettings:
    """AMC's hyper-parameters; where the paper and its code differ, the code's.

    Attributes:
        hidden: Units of the actor's and the critic's hidden layers.
        actor_lr: Adam's step size for the actor.
        critic_lr: Adam's step size for the critic.
        tau: Share of the online networks that goes into the targets at each update, in (0, 1].
        discount: 1: the reward comes at the end, and every transition carries it.
        batch_size: Transitions an update.
        replay_episodes: Episodes that the replay holds.
        sigma: Noise at the end of the warm-up, in shares of units kept.
        decay: Factor on the noise after each episode; None: so that it has come down to 0.02 after three quarters of
            the learning episodes (the paper's 0.95 is there after 63 episodes, however many there are).
        slack: Share of the budget that the agent's own actions may leave unspent; 1 leaves them to the action mask
            alone.
        neighbours: Share of the learning episodes that play a neighbour of the three best policies so far in place of
            the actor's own, as the solvers draw them; they go into the replay as all others. None without a budget.
        front: Whether one agent is trained for all budgets from the search's to the dense cost: every episode has a
            limit of its own (`autoprune.agents.limits`), which the environment has to show (`shows_limit`).
        baseline_rate: Weight of the newest reward in the moving average that is subtracted.
    """

    hidden: tuple[int, ...] = (300, 300)
    actor_lr: float = 1e-4
    critic_lr: float = 1e-3
    tau: float = 0.01
    discount: float = 1.0
    batch_size: int = 64
    replay_episodes: int = 100
    sigma: float = 0.5
    decay: float | None = None
    slack: float = 0.05
    baseline_rate: float = 0.05
    neighbours: float = 0.75
    front: bool = False

    def __post_init__(self) -> None:
        rates = (self.actor_lr, self.critic_lr, self.tau, self.discount, self.baseline_rate, self.sigma)
        counts = (self.batch_size, self.replay_episodes, *self.hidden)
        if min(rates) <= 0 or min(counts) < 1 or max(self.tau, self.discount, self.baseline_rate) > 1:
            raise InputError(f"rates must be positive, tau, discount and baseline_rate at most 1: {self}")
        if not 0 <= self.slack <= 1 or not 0 <= self.neighbours <= 1:
            raise InputError(f"slack and neighbours must be in [0, 1]: {self}")
        if self.decay is not None and not 0 < self.decay <= 1:
            raise InputError(f"decay must be in (0, 1]: {self}")

    def noise(self, learning: int, learning_episodes: int) -> float:
        """Sigma in the learning episode number `learning` of `learning_episodes`, in shares of units kept."""
        decay = default_decay(self.sigma, learning_episodes) if self.decay is None else self.decay
        return float(self.sigma * decay**learning)
