"""The exploration noise: a truncated normal around the actor's answer, and how it decays over the episodes."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

__all__ = ["default_decay", "truncated_normal"]

_FINAL_SIGMA = 0.02  # below this, noise no longer moves a rounded width
_DECAY_SHARE = 0.75  # of the learning episodes, after which the noise is there


def default_decay(sigma: float, learning_episodes: int) -> float:
    """The factor on the noise after each episode with which it is nearly gone after three quarters of them.

    Args:
        sigma: Noise at the end of the warm-up, in shares of units kept.
        learning_episodes: Episodes after the warm-up.
    """
    span = max(1.0, _DECAY_SHARE * learning_episodes)
    return float(min(1.0, (_FINAL_SIGMA / sigma) ** (1.0 / span)))


def truncated_normal(mean: float, sigma: float, rng: np.random.Generator) -> float:
    """One draw from a normal distribution restricted to [0, 1], by inversion.

    Args:
        mean: Of the normal before it is cut, in [0, 1].
        sigma: Its standard deviation, above 0.
        rng: Where the randomness comes from.
    """
    low, high = ndtr((0.0 - mean) / sigma), ndtr((1.0 - mean) / sigma)
    return float(np.clip(mean + sigma * ndtri(rng.uniform(low, high)), 0.0, 1.0))
