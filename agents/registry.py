"""Agents by name. Each is imported when it is asked for, so that listing names stays cheap."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name

if TYPE_CHECKING:
    from autoprune.agents.base import Agent

__all__ = ["NAMES", "get"]

_WHERE = {
    "ddpg": ("autoprune.agents.ddpg.agent", "DDPGAgent"),
    "optuna": ("autoprune.agents.optuna_search", "OptunaAgent"),
    "random": ("autoprune.agents.random_search", "RandomAgent"),
    "uniform": ("autoprune.agents.uniform", "UniformAgent"),
}
NAMES = tuple(sorted(_WHERE))


def get(name: str) -> type[Agent]:
    """The agent's class, from its name on the command line.

    Raises:
        InputError: If there is no such agent; names the nearest.
    """
    if name not in _WHERE:
        raise InputError(f"unknown agent {name!r}; {nearest_name(name, NAMES)}")
    module, attribute = _WHERE[name]
    agent: type[Agent] = getattr(importlib.import_module(module), attribute)
    return agent
