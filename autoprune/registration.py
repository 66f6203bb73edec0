"""The environment's name for Gymnasium; the environment itself is imported when it is made."""

from __future__ import annotations

__all__ = ["ENV_ID", "register"]

ENV_ID = "autoprune/Pruning-v0"


def register() -> None:
    """Register the environment, once."""
    import gymnasium

    if ENV_ID not in gymnasium.registry:
        gymnasium.register(id=ENV_ID, entry_point="autoprune.envs:PruningEnv")
