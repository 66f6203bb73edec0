"""The agent on a language model's decisions: the same environment, action mask and rows as for every network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from autoprune import agents
from autoprune.agents import EpisodeRecord
from autoprune.envs import Curves, PruningEnv, RelativeToDense, ScoreMemory
from autoprune.llm.search.budget import SearchPlan
from autoprune.llm.search.pricing import Pricing
from autoprune.llm.search.scoring import LOSS
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.bare import played
from autoprune.pipeline.search.play import points_of_curves, solved_policies
from autoprune.pipeline.search.single_cuts import SingleCuts, tried_options
from autoprune.run.directory import RunDir
from autoprune.space import SearchSpace

__all__ = ["Found", "search", "single_cuts"]


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
    return Found(played(agent, LOSS, run, reporter), dense)


def single_cuts(plan: SearchPlan, space: SearchSpace) -> int:
    """Candidates that are scored before the agent begins, for one that wants to know what single cuts lose."""
    count = points_of_curves(agents.get(plan.agent), plan.episodes, len(space))
    return sum(len(tried_options(d, count)) for d in space.decisions) if count else 0


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
