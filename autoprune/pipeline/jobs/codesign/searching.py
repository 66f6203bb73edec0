"""An agent on the decisions of an arm: the same environment, action mask and rows as in every search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from autoprune import agents
from autoprune.agents import Agent, EpisodeRecord, run_search
from autoprune.agents.solvers.base import SolverAgent
from autoprune.cost.chips import BestChip
from autoprune.envs import Curves, PruningEnv, RelativeToDense, ResourceConstrained, Reward
from autoprune.pipeline.jobs.codesign.arms import Arm
from autoprune.pipeline.jobs.codesign.knobs import KnobChoice
from autoprune.pipeline.reporter import Bar, Reporter
from autoprune.pipeline.search.play import nearest_within, points_of_curves, solved_policies
from autoprune.pipeline.search.single_cuts import SingleCuts, tried_options
from autoprune.run.directory import RunDir
from autoprune.space import SearchSpace

__all__ = [
    "Part",
    "curves_of",
    "nearest_policy",
    "parts_by_chip",
    "play_part",
    "reward_of",
    "rows_of",
    "scored_once",
    "uniform_policies",
    "within",
]

_CHIPS = 4  # for each of which a solver, which knows sums alone, searches by itself

_PART = "part"  # key of a row of episodes.jsonl that says which search it belongs to


@dataclass(frozen=True, eq=False)
class Part:
    """One search of a run.

    Attributes:
        name: Of its rows: `joint`, `ratios` or `random`, its arm and limit.
        arm: What is decided.
        cost: Prices policies.
        limit: What a policy may cost, in its unit.
        agent: Who searches.
        episodes: For how long.
        seeds: Policies that it starts from.
        knobs: The chip as first decisions; None where every policy has its best one.
    """

    name: str
    arm: Arm
    cost: BestChip
    limit: float
    agent: str
    episodes: int
    seeds: Sequence[Mapping[str, int]] = ()
    knobs: KnobChoice | None = None


def rows_of(run: RunDir, part: str | None = None) -> list[tuple[str, EpisodeRecord]]:
    """Part and record of every stored episode, of one part if it is named."""
    rows = [(str(row.get(_PART)), {k: v for k, v in row.items() if k != _PART}) for row in run.episodes()]
    return [(name, EpisodeRecord.from_row(row)) for name, row in rows if part in (None, name)]


def play_part(part: Part, curves: Curves | None, reporter: Reporter, bar: Bar, before: int) -> list[EpisodeRecord]:
    """Play the episodes of one search, going on where the run stopped.

    Args:
        part: What is searched.
        curves: What decisions lose alone, for agents that compute with it.
        reporter: Is told of each episode.
        bar: Shows how many of all are done.
        before: Episodes of other parts that are.
    """
    run = part.arm.problem.run
    rows = [record for _, record in rows_of(run, part.name)]
    agent = _agent(part, curves)

    def finished(record: EpisodeRecord) -> None:
        run.append_episode(record.to_row() | {_PART: part.name})
        reporter.happened("episode", record.to_row())
        bar.update(before + record.episode + 1, best=part.arm.problem.task.scored_as.text(record.value))

    return run_search(agent, part.episodes, finished, rows=rows)


def _agent(part: Part, curves: Curves | None) -> Agent:
    problem, kind = part.arm.problem, agents.get(part.agent)
    env = environment(part.arm, part.cost, part.limit, curves)
    if part.knobs is not None:
        env = part.knobs.environment(part.limit, reward_of(part.arm))
    return kind(
        env,
        episodes=part.episodes,
        warmup=None if problem.experiment.warmup is None else min(problem.experiment.warmup, part.episodes),
        seed=problem.experiment.seed,
        seed_policies=_starts(part, env) if kind.uses_seed_policies else (),
        **agents.options_of(part.agent),
    )


def environment(arm: Arm, cost: BestChip, limit: float, curves: Curves | None = None) -> PruningEnv:
    """The environment of an arm's decisions under a limit."""
    spec = arm.problem.task.scored_as
    return PruningEnv(arm.problem.space, cost, limit, arm.memory, None, reward_of(arm), spec, curves)


def reward_of(arm: Arm) -> Reward:
    """What an episode of an arm is worth."""
    spec, dense = arm.problem.task.scored_as, arm.problem.space.complete({})
    return ResourceConstrained() if spec.is_accuracy else RelativeToDense(spec.merit(arm.memory(dense)))


def _starts(part: Part, env: PruningEnv) -> list[dict[str, int]]:
    """What a search begins with: what others have found within its limit, then solvers' answers for single chips."""
    given = [dict(choices) for choices in part.seeds if part.cost.cost(choices) <= part.limit]
    if env.curves is not None:
        for chip in _leading_chips(part):
            alone = environment(part.arm, chip, part.limit, env.curves)
            given += solved_policies(alone, part.limit, part.arm.problem.experiment.seed)
    if part.knobs is not None:
        given = [part.knobs.on_best_chip(choices) for choices in given]
    unlike = {tuple(sorted(choices.items())): choices for choices in given}
    return list(unlike.values())[: max(1, part.episodes // 2)]


def _leading_chips(part: Part) -> list[BestChip]:
    """The costs of single chips on which the limit can be met, those that suit the sparsest network first."""
    tables, cost = part.cost.tables, part.cost
    singles = [BestChip(tables.only([number]), cost.kind) for number in range(len(tables))]
    reached = sorted((single.least()[0], number) for number, single in enumerate(singles))
    return [singles[number] for least, number in reached[:_CHIPS] if least <= part.limit]


def parts_by_chip(part: Part) -> list[Part]:
    """The same search; of a solver one for each of the leading chips: it knows sums, and a minimum of sums is none."""
    kind = agents.get(part.agent)
    chips = _leading_chips(part) if issubclass(kind, SolverAgent) and len(part.cost.tables) > 1 else []
    if len(chips) < 2:
        return [part]
    count = min(len(chips), part.episodes)
    shares = [len(each) for each in np.array_split(np.arange(part.episodes), count)]
    return [
        Part(f"{part.name} chip {number}", part.arm, chip, part.limit, part.agent, share, part.seeds)
        for number, (chip, share) in enumerate(zip(chips, shares, strict=False))
    ]


def curves_of(arm: Arm, agent: str, episodes: int, reporter: Reporter) -> Curves | None:
    """What each decision loses when it alone is cut; None where there is no time for it."""
    problem = arm.problem
    space, spec = problem.space, problem.task.scored_as
    count = points_of_curves(agents.get(agent), episodes, len(space))
    if not count:
        return None
    wanted = [(d.name, kept) for d in space.decisions for kept in tried_options(d, count)]
    points: dict[str, dict[int, float]] = {name: {} for name in space.names}
    with reporter.stage("sensitivity", f"scoring single cuts under {arm.family}", len(wanted)) as bar:
        for number, (name, kept) in enumerate(wanted, start=1):
            points[name][kept] = scored_once(arm, space.complete({name: kept}))
            bar.update(number)
    return SingleCuts(scored_once(arm, space.complete({})), points).curves(space, spec)


def scored_once(arm: Arm, choices: Mapping[str, int]) -> float:
    """The score of a policy on the search split, kept in the run."""
    full = arm.problem.space.complete(choices)
    key = " ".join(str(kept) for kept in full.values())
    found: float = arm.problem.run.once(f"score {arm.family} {key}", partial(arm.memory, full))
    arm.memory.remember(full, found)
    return found


def uniform_policies(space: SearchSpace, shares: Sequence[float]) -> list[dict[str, int]]:
    """The policies that keep one share of every layer, each once, the sparsest first."""
    found = [space.complete({d.name: d.nearest(share * d.width) for d in space.decisions}) for share in shares]
    return [dict(each) for each in {tuple(choices.items()): choices for choices in found}.values()]


def nearest_policy(space: SearchSpace, shares: Mapping[str, float]) -> dict[str, int]:
    """The policy whose layers keep what is nearest to some shares; layers that are not named stay dense."""
    known = {d.name: d.nearest(shares[d.name] * d.width) for d in space.decisions if d.name in shares}
    return space.complete(known)


def within(cost: BestChip, limit: float, choices: Mapping[str, int]) -> dict[str, int]:
    """A policy, or the nearest one that meets the limit."""
    full = cost.space.complete(choices)
    return full if cost.cost(full) <= limit else nearest_within(cost, limit, full)
