"""The loop around an agent; it resumes exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autoprune.agents.base import Agent, EpisodeRecord
from autoprune.errors import AutopruneError

__all__ = ["run_search"]


def run_search(
    agent: Agent,
    episodes: int,
    on_episode: Callable[[EpisodeRecord], None],
    *,
    rows: Sequence[EpisodeRecord] = (),
    batch: int = 1,
) -> list[EpisodeRecord]:
    """Play episodes until there are `episodes`, or the agent has nothing left to try.

    With a batch of n, episodes are played in rounds of n: the policies of a round are all chosen by what was known at
    its beginning, and may be scored at the same time, in several processes (`autoprune.techniques.homes`). Which
    episodes come out depends on the agent's seed and on n, not on where they are scored.

    To resume: restore the agent's last saved state (or take a fresh agent), hand over all rows logged so far, and
    play on. Episodes after the state that are among the rows are played again from their stored scores, so that
    nothing is evaluated twice; they must come out as they are stored, and are not reported again.

    Args:
        agent: Fresh, or restored to some episode.
        episodes: How many there should be in the end.
        on_episode: Called after each new episode; flush the row before it returns, and save the agent's state after
            that if it is time to and the agent is between two rounds.
        rows: Episodes 0, 1, ... as logged by the run that is resumed; it may have ended within a round.
        batch: Episodes of a round.

    Returns:
        All episodes, the resumed ones first.

    Raises:
        AutopruneError: If a replayed episode differs from its row.
    """
    memory = agent.env.memory
    for row in rows[: agent.played]:
        memory.remember(row.choices, row.value, row.share)
    for row, record in zip(rows, agent.history, strict=False):
        _compare(row, record)
    for record in agent.history[len(rows) :]:  # the state outlived its row, such as a torn last line
        on_episode(record)
    while agent.played < episodes and not agent.finished:
        planned = agent.plan(min(batch, episodes - agent.played))
        known = rows[agent.played : agent.played + len(planned)]
        memory.begin([each.choices for each in planned], known)
        for k in (each.number for each in planned):
            record = agent.play()
            if k < len(rows):
                _compare(rows[k], record)
                agent.history[k] = rows[k]  # the time it really took
            else:
                on_episode(record)
    return [*rows, *agent.history[len(rows) :]]


def _compare(row: EpisodeRecord, record: EpisodeRecord) -> None:
    if not row.same_as(record):
        raise AutopruneError(
            f"episode {record.episode} of {record.agent} came out differently when it was played again; settings,"
            " seed, latency table and versions must be those of the run that is resumed"
        )
