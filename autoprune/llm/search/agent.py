"""The agent on a language model's decisions: the same environment, action mask and rows as for every network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from autoprune import agents
from autoprune.agents import Agent, EpisodeRecord, run_search
from autoprune.envs import Curves, PruningEnv, RelativeToDense, ScoreMemory
from autoprune.llm.search.budget import SearchPlan
from autoprune.llm.search.pricing import Pricing
from autoprune.llm.search.scoring import LOSS
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.checkpoint import Checkpoint
from autoprune.pipeline.search.play import points_of_curves, solved_policies
from autoprune.pipeline.search.single_cuts import SingleCuts, tried_options
from autoprune.run.directory import RunDir

__all__ = ["Found", "search"]


@dataclass(frozen=True, eq=False)
class Found:
    """A finished search.

    Attributes:
        records: Its episodes.
        dense: Loss of the dense network on the held-out text (nats).
    """

    records: list[EpisodeRecord]
    dense: float


def search(pricing: Pricing, scores: ScoreMemory, plan: SearchPlan, run: RunDir, reporter: Reporter) -> Found:
    """Play the plan's episodes, going on where the run stopped.

    Args:
        pricing: Prices policies, and says what they may cost.
        scores: Loss of policies on the held-out text (nats).
        plan: Who searches, and for how long.
        run: Keeps the episodes.
        reporter: Shows progress.

    Raises:
        BudgetError: If nothing meets the budget; nothing is kept of the run then.
    """
    space = pricing.cost.space
    PruningEnv(space, pricing.cost, pricing.limit, scores)  # refuses a budget that is out of reach
    run.mark_started()
    dense: float = run.once("dense loss", lambda: scores(space.complete({})))
    scores.remember(space.complete({}), dense)
    kind = agents.get(plan.agent)
    count = points_of_curves(kind, plan.episodes, len(space))
    curves = _curves(scores, pricing, dense, count, run, reporter) if count else None
    env = PruningEnv(
        space, pricing.cost, pricing.limit, scores, None, RelativeToDense(-dense), LOSS, curves
    )  # fmt: skip
    agent = kind(
        env,
        episodes=plan.episodes,
        warmup=plan.warmup,
        seed=plan.seed,
        seed_policies=_starts(env, plan, run) if kind.uses_seed_policies else (),
        **agents.options_of(plan.agent),
    )
    return Found(_play(agent, run, reporter), dense)


def _curves(scores: ScoreMemory, pricing: Pricing, dense: float, count: int, run: RunDir, reporter: Reporter) -> Curves:
    """What each decision loses when it alone is cut; scores that the run has are read back."""
    space = pricing.cost.space
    wanted = [(d.name, kept) for d in space.decisions for kept in tried_options(d, count)]
    points: dict[str, dict[int, float]] = {name: {} for name in space.names}
    with reporter.stage("sensitivity", "scoring single cuts", len(wanted)) as bar:
        for number, (name, kept) in enumerate(wanted, start=1):
            choices = space.complete({name: kept})
            points[name][kept] = run.once(f"single cut {name} {kept}", partial(scores, choices))
            scores.remember(choices, points[name][kept])
            bar.update(number)
    return SingleCuts(dense, points).curves(space, LOSS)


def _starts(env: PruningEnv, plan: SearchPlan, run: RunDir) -> list[dict[str, int]]:
    return run.once("solvers' answers", lambda: solved_policies(env, env.limit, plan.seed))


def _play(agent: Agent, run: RunDir, reporter: Reporter) -> list[EpisodeRecord]:
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
            bar.update(len(known), best=LOSS.text(agents.best(known)[0].value))

        return run_search(agent, agent.episodes, finished, rows=rows)
