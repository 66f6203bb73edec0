"""The environment with numbered options as actions, for libraries that mask discrete actions."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from autoprune.envs.pruning_env import PruningEnv, action_for
from autoprune.errors import InputError

__all__ = ["DiscreteActions"]

Array = NDArray[np.float32]


class DiscreteActions(gymnasium.ActionWrapper[Array, np.int64, Array], gymnasium.utils.RecordConstructorArgs):
    """`PruningEnv` with options by number, id `autoprune/PruningDiscrete-v0`; all else is as there.

    ## Action
    `Discrete(n)`, n being the most options that any decision has. Action i asks for option i of the current decision,
    the options in order of kept units; a number beyond the widest asks for the widest. An option from which the budget
    cannot be met is replaced by the nearest one, as in `PruningEnv`; who reads `action_masks()` never asks for one.

    ## Versions
    v0: the first.

    Args:
        env: `PruningEnv`, perhaps wrapped.

    Raises:
        InputError: If the environment is another one.
    """

    def __init__(self, env: gymnasium.Env[Array, Array]) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self)
        gymnasium.ActionWrapper.__init__(self, env)
        if not isinstance(env.unwrapped, PruningEnv):
            raise InputError(f"discrete actions are for autoprune/Pruning-v0, not {type(env.unwrapped).__name__}")
        self._pruning: PruningEnv = env.unwrapped
        self._options = max(len(decision.options) for decision in self._pruning.space.decisions)
        self.action_space: gymnasium.spaces.Space[Any] = gymnasium.spaces.Discrete(self._options)

    def action(self, action: np.int64) -> Array:
        """The continuous action that asks for exactly this option."""
        decision = self._pruning.decision
        return action_for(decision, decision.options[min(int(action), len(decision.options) - 1)])

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions the budget allows now, shape (n,), as sb3-contrib's MaskablePPO asks for it.

        Between two episodes, when no action is wanted, all are.
        """
        pruning = self._pruning
        if pruning.feasible.step == len(pruning.space):
            return np.ones(self._options, dtype=np.bool_)
        allowed = pruning.allowed()
        return np.pad(allowed, (0, self._options - len(allowed)))
