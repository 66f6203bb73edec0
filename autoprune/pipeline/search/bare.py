"""A search on decisions, a cost and a score alone: the same environment, action mask and rows as in every search."""

from __future__ import annotations

from autoprune import agents
from autoprune.agents import Agent, EpisodeRecord, run_search
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.checkpoint import Checkpoint
from autoprune.run.directory import RunDir
from autoprune.run.score import ScoreSpec

__all__ = ["played"]


def played(agent: Agent, spec: ScoreSpec, run: RunDir, reporter: Reporter) -> list[EpisodeRecord]:
    """The agent's episodes, going on where the run stopped.

    Args:
        agent: With its environment.
        spec: What its score is, for people.
        run: Keeps the episodes.
        reporter: Shows progress.
    """
    rows = [EpisodeRecord.from_row(row) for row in run.episodes()]
    checkpoint = Checkpoint(run, agent, len(rows))
    agent.keep_files_in(run.path)
    known = list(rows)
    with reporter.stage("search", f"search with {agent.name}", agent.episodes, len(rows)) as bar:

        def finished(record: EpisodeRecord) -> None:
            run.append_episode(record.to_row())
            known.append(record)
            checkpoint.played(record.episode + 1)
            reporter.happened("episode", record.to_row())
            bar.update(len(known), best=spec.text(agents.best(known)[0].value))

        return run_search(agent, agent.episodes, finished, rows=rows)
