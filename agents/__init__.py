"""Agents that fill in a policy: one file an agent, one contract, one registry."""

if __name__ != "autoprune.agents":
    raise ImportError("import autoprune.agents; the folder agents/ is not a package of its own")

from typing import TYPE_CHECKING, Any

from autoprune.agents.registry import NAMES, get

if TYPE_CHECKING:
    from autoprune.agents.base import Agent, EpisodeRecord, best, default_warmup
    from autoprune.agents.driver import run_search
    from autoprune.agents.state import AgentState

__all__ = ["NAMES", "Agent", "AgentState", "EpisodeRecord", "best", "default_warmup", "get", "run_search"]

_LAZY = {
    "Agent": "base",
    "AgentState": "state",
    "EpisodeRecord": "base",
    "best": "base",
    "default_warmup": "base",
    "run_search": "driver",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch and gymnasium when it is first asked for: the command line wants only the names."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
