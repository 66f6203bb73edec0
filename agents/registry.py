"""Agents by name. Each is imported when it is asked for, so that listing names stays cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.foundations.registry import Registry

if TYPE_CHECKING:
    from autoprune.agents.base import Agent

__all__ = ["AGENTS", "get"]

AGENTS: Registry[type[Agent]] = Registry(
    "agent",
    {
        "ddpg": "autoprune.agents.ddpg.agent:DDPGAgent",
        "evolution": "autoprune.agents.solvers.evolution:EvolutionAgent",
        "exact": "autoprune.agents.solvers.exact:ExactAgent",
        "greedy": "autoprune.agents.solvers.greedy:GreedyAgent",
        "netadapt": "autoprune.agents.solvers.netadapt:NetAdaptAgent",
        "optuna": "autoprune.agents.optuna_search:OptunaAgent",
        "random": "autoprune.agents.random_search:RandomAgent",
        "uniform": "autoprune.agents.uniform:UniformAgent",
    },
    "autoprune.agents",
)
"""Every agent that `--agent` knows; another package adds its own by an entry point of the group `autoprune.agents`."""


def get(name: str) -> type[Agent]:
    """The agent's class, from its name on the command line.

    Raises:
        InputError: If there is no such agent; names the nearest.
    """
    return AGENTS.get(name)
