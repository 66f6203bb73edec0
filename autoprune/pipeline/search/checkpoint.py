"""The state of a run's agent on disk, and what it starts from of another run's."""

from __future__ import annotations

from pathlib import Path

from autoprune.agents import Agent, AgentState
from autoprune.errors import InputError
from autoprune.run.directory import RunDir

__all__ = ["STATE", "Checkpoint", "earlier_state", "saved_state"]

STATE = "checkpoint/agent.safetensors"
_WARM_START = "checkpoint/warm-start.safetensors"
_EVERY = 20  # episodes; those after it are replayed from their stored scores


class Checkpoint:
    """The agent's state in the run's folder, written anew between rounds when enough episodes have been played.

    Args:
        run: The run.
        agent: Takes over the state that is there.
        logged: How many episodes the run has.
    """

    def __init__(self, run: RunDir, agent: Agent, logged: int) -> None:
        self._path, self._agent = run.file(STATE), agent
        self._saved = logged if logged else -_EVERY  # the first state is written at once
        if self._path.exists():
            agent.load_state_dict(AgentState.load(self._path))

    def played(self, episodes: int) -> None:
        """So many episodes have been played and are on disk."""
        if self._agent.between_rounds and episodes // _EVERY > self._saved // _EVERY:
            self.save(episodes)

    def save(self, episodes: int) -> None:
        """Write the state after so many episodes."""
        self._agent.state_dict().save(self._path)
        self._saved = episodes


def earlier_state(run: RunDir, other: Path) -> AgentState:
    """What the agent of another run has learned; copied into this run, which does not depend on the other one then."""
    own = run.file(_WARM_START)
    if not own.exists():
        AgentState.load(saved_state(other)).save(own)
    return AgentState.load(own)


def saved_state(run: Path) -> Path:
    """The file that holds a run's agent.

    Raises:
        InputError: If the run has none.
    """
    path = run / STATE
    if not path.is_file():
        raise InputError(f"--warm-start {run}: there is no {STATE}; name the folder of a run whose agent is ddpg")
    return path
