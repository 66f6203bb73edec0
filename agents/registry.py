"""Agents by name. Each is imported when it is asked for, so that listing names stays cheap."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.foundations.registry import Registry
from autoprune.space import first_fault

if TYPE_CHECKING:
    from autoprune.agents.base import Agent

__all__ = ["AGENTS", "get", "options_of"]

AGENTS: Registry[type[Agent]] = Registry(
    "agent",
    {
        "ddpg": "autoprune.agents.ddpg.agent:DDPGAgent",
        "evolution": "autoprune.agents.solvers.evolution:EvolutionAgent",
        "exact": "autoprune.agents.solvers.exact:ExactAgent",
        "greedy": "autoprune.agents.solvers.greedy:GreedyAgent",
        "importance": "autoprune.agents.optuna_search.importance:ImportanceAgent",
        "netadapt": "autoprune.agents.solvers.netadapt:NetAdaptAgent",
        "optuna": "autoprune.agents.optuna_search.agent:OptunaAgent",
        "random": "autoprune.agents.random_search:RandomAgent",
        "uniform": "autoprune.agents.uniform:UniformAgent",
    },
    "autoprune.agents",
)
"""Every agent that `--agent` knows; another package adds its own by an entry point of the group `autoprune.agents`."""


def get(text: str) -> type[Agent]:
    """The agent's class, from its name on the command line; settings behind an @ are left aside.

    Raises:
        InputError: If there is no such agent; names the nearest.
    """
    return AGENTS.get(text.partition("@")[0])


def options_of(text: str, *, front: bool = False) -> dict[str, Any]:
    """What an agent's class is handed of the settings that stand behind its name.

    Args:
        text: `NAME`, or `NAME@SETTING=VALUE+...`: `optuna@sampler=cmaes`, `ddpg@sigma=0.3+slack=0.1`.
        front: Whether a whole front is searched, which is a setting, too.

    Returns:
        `settings`, an instance of the agent's `settings_class`; empty where nothing is set.

    Raises:
        InputError: If there is no such agent, it searches no front, or the settings are wrong.
    """
    name, at, words = text.partition("@")
    kind = get(text)
    if front:
        if "front" not in _known(kind):
            raise InputError(f"--front needs an agent that searches a whole front, such as optuna or ddpg; not {name}")
        words = "+".join(filter(None, [words, "front=yes"]))
    return {"settings": _settings(kind, text, words)} if at or front else {}


def _known(kind: type[Agent]) -> tuple[str, ...]:
    return () if kind.settings_class is None else tuple(each.name for each in fields(kind.settings_class))


def _settings(kind: type[Agent], text: str, words: str) -> Any:
    pairs = [word.partition("=") for word in words.split("+")]
    known = _known(kind)
    given = {name.strip().replace("-", "_"): value.strip() for name, _, value in pairs}
    if kind.settings_class is None or not set(given) <= set(known) or not all(value for _, _, value in pairs):
        raise InputError(f"--agent {shortened(text)}: its settings are {', '.join(known) or 'none'}, each NAME=VALUE")
    try:
        return TypeAdapter(kind.settings_class).validate_python(given)
    except ValidationError as error:
        raise InputError(f"--agent {shortened(text)}: {first_fault(error)}") from error
    except InputError as error:
        raise InputError(f"--agent {shortened(text)}: {error}") from error
