"""Agents that fill in a policy: one file an agent, one contract, one registry."""

if __name__ != "autoprune.agents":
    raise ImportError("import autoprune.agents; the folder agents/ is not a package of its own")

from typing import TYPE_CHECKING

from autoprune.agents.registry import AGENTS, get, options_of
from autoprune.foundations.lazy import lazy_names

if TYPE_CHECKING:
    from autoprune.agents.base import Agent, EpisodeRecord, PlannedEpisode, best
    from autoprune.agents.driver import run_search
    from autoprune.agents.state import AgentState
    from autoprune.run.settings import default_warmup

__all__ = [
    "AGENTS",
    "Agent",
    "AgentState",
    "EpisodeRecord",
    "PlannedEpisode",
    "best",
    "default_warmup",
    "get",
    "options_of",
    "run_search",
]

_HOMES = {
    "Agent": "autoprune.agents.base",
    "AgentState": "autoprune.agents.state",
    "EpisodeRecord": "autoprune.agents.base",
    "PlannedEpisode": "autoprune.agents.planned",
    "best": "autoprune.agents.base",
    "default_warmup": "autoprune.run.settings",
    "run_search": "autoprune.agents.driver",
}


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
