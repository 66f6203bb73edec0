"""What an episode is to play, chosen before it is scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["PlannedEpisode"]


@dataclass(frozen=True)
class PlannedEpisode:
    """An episode that is chosen and not yet played.

    Attributes:
        number: Of the episode.
        choices: Kept units by decision, complete; of a round that is planned, as they will be executed.
        limit: What the policy may cost, in the cost's unit.
        note: What the agent wants to know again when it plays the episode.
    """

    number: int
    choices: dict[str, int]
    limit: float
    note: Any = None
