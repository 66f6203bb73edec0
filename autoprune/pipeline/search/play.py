"""The search: an agent plays episodes on a problem, and every one of them is on disk before the next starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoprune import agents
from autoprune.agents import Agent, EpisodeRecord, run_search
from autoprune.agents.solvers.base import SolverAgent
from autoprune.cost import CostModel, FeasibleActions
from autoprune.envs import (
    Curves,
    PruningEnv,
    RelativeToDense,
    ResourceConstrained,
    Reward,
    ScoreMemory,
    amc_features,
    largest_uniform,
)
from autoprune.pipeline.problem import Problem, figure
from autoprune.pipeline.reporter import Bar, Reporter
from autoprune.pipeline.search.candidates import scorer_of
from autoprune.pipeline.search.checkpoint import STATE, Checkpoint, earlier_state
from autoprune.pipeline.search.scores import Scores, scores_of
from autoprune.pipeline.search.single_cuts import score_single_cuts
from autoprune.pipeline.search.together import limits_of, take_over
from autoprune.reports.tensorboard.search import SearchWriter
from autoprune.techniques.scoring import Scorer, ScoresAt

__all__ = [
    "Search",
    "nearest_within",
    "play",
    "points_of_curves",
    "project",
    "solved_policies",
    "start_search",
    "uniform_choices",
    "within",
]

_SOLVERS = ("exact", "greedy", "netadapt")
"""Agents whose first answers, beside the uniform policy, searches start from."""

_POINTS = 4  # options of each decision that are scored alone, where there is time for it


@dataclass
class Search:
    """A search under way.

    Attributes:
        records: The finished episodes.
        scores: What scores the episodes.
        episodes: How many the search is to have; of one agent for several budgets, as many for each.
    """

    problem: Problem
    agent: Agent
    scores: Scores
    records: list[EpisodeRecord]
    episodes: int

    @property
    def score(self) -> ScoreMemory:
        """Scores any policy as the episodes were scored, each once."""
        return self.scores.memory

    @property
    def within(self) -> list[EpisodeRecord]:
        """The finished episodes within the budget: all, unless a front is searched or others' budgets are, too."""
        return within(self.records, self.agent.env.limit)

    def merit(self, choices: Mapping[str, int]) -> float:
        """A policy's score, turned where less is better: the larger, the better."""
        return self.problem.task.scored_as.merit(self.score(choices))


def within(records: Sequence[EpisodeRecord], limit: float) -> list[EpisodeRecord]:
    """Those of some episodes that cost at most the limit, in the budget's unit."""
    return [record for record in records if record.predicted_cost <= limit]


def start_search(problem: Problem, reporter: Reporter) -> Search:
    """The environment, the agent and the score on a problem, with what an earlier part of the run left.

    Raises:
        InputError: If the agent is unknown.
        BudgetError: If nothing meets the budget.
    """
    experiment, task = problem.experiment, problem.task
    kind = agents.get(experiment.agent)
    with reporter.stage("search", "reading the search split"):
        scorer = scorer_of(problem)
    limit = problem.run.once("first search limit", lambda: problem.limit)
    limits: list[float] = problem.run.once("search limits", lambda: list(limits_of(problem)))
    scores = scores_of(problem, scorer, several=experiment.front or bool(limits), reporter=reporter)
    if limits and take_over(problem, STATE):
        reporter.say("one agent is trained for all budgets of these runs; its search is taken over from the first")
    features = amc_features(problem.analysis, problem.space)
    reward, curves = _reward(problem, scores.memory), _curves(problem, kind, scorer, scores, reporter)
    env = PruningEnv(
        problem.space,
        problem.cost,
        limit,
        scores.memory,
        features,
        reward,
        task.scored_as,
        curves,
        shows_limit=experiment.front or bool(limits),
        energy=problem.energy,
    )
    several = max(1, len(limits))
    agent = kind(
        env,
        episodes=several * experiment.episodes,
        warmup=several * experiment.warmup_episodes,
        seed=experiment.seed,
        seed_policies=_solver_answers(problem, env, limits or [limit], reporter) if kind.uses_seed_policies else (),
        **({"limits": limits} if limits else {}),
        **agents.options_of(experiment.agent, front=experiment.front),
    )
    if experiment.warm_start is not None:
        agent.start_from(earlier_state(problem.run, Path(experiment.warm_start)))
    return Search(problem, agent, scores, [], agent.episodes)


def points_of_curves(kind: type[Agent], episodes: int, decisions: int) -> int:
    """Options of each decision that are scored alone before a search; 0 for none.

    Beside a search that only starts from solvers' answers there may be a quarter as many scores as episodes.

    Args:
        kind: The agent's class.
        episodes: That it may log.
        decisions: Of the search space.
    """
    affordable = episodes // 4 // decisions if kind.uses_seed_policies else 0
    return _POINTS if kind.uses_curves else min(_POINTS, affordable)


def _curves(problem: Problem, kind: type[Agent], scorer: Scorer, scores: Scores, reporter: Reporter) -> Curves | None:
    """What decisions lose when they alone are cut, for an agent that computes with it or starts from solvers' answers.

    Their scores are no episodes. In rounds they are scored where candidates are, several at the same time.
    """
    points = points_of_curves(kind, problem.experiment.episodes, len(problem.space))
    if not points:
        return None
    space, spec = problem.space, problem.task.scored_as
    if scores.batch == 1:
        return score_single_cuts(problem, scorer, points, reporter).curves(space, spec)
    there = ScoresAt(scores.home)
    try:
        cuts = score_single_cuts(problem, there, points, reporter, lambda cut: there.begin(cut, None))
    except BaseException:
        scores.home.close()
        raise
    return cuts.curves(space, spec)  # the home is kept open for the episodes


def _reward(problem: Problem, score: ScoreMemory) -> Reward:
    """What an episode is worth: of accuracy minus the error, of another score the gain over the dense network."""
    spec = problem.task.scored_as
    if spec.is_accuracy:
        return ResourceConstrained()
    dense = problem.space.complete({})
    return RelativeToDense(spec.merit(problem.run.once("dense search score", lambda: score(dense))))


def _solver_answers(
    problem: Problem, env: PruningEnv, limits: Sequence[float], reporter: Reporter
) -> list[dict[str, int]]:
    """What the search starts from, so that it never ends below it: the uniform policy, then the solvers' answers.

    Of several limits as many answers for each, in the order in which episodes have these limits.
    """

    def under(limit: float) -> list[dict[str, int]]:
        unlike = solved_policies(env, limit, problem.experiment.seed)
        return unlike if len(limits) == 1 else [unlike[n % len(unlike)] for n in range(1 + len(_SOLVERS))]

    def solve() -> list[dict[str, int]]:
        with reporter.stage("search", "solving for policies to start from"):
            found = [under(limit) for limit in limits]
        return [choices for turn in zip(*found, strict=True) for choices in turn]

    return problem.run.once("solvers' answers", solve)


def solved_policies(env: PruningEnv, limit: float, seed: int) -> list[dict[str, int]]:
    """The uniform policy and the solvers' answers within a limit, each once.

    Args:
        env: Prices policies; its curves say what they lose.
        limit: In the cost's unit.
        seed: Of the solvers.
    """
    uniform = largest_uniform(env.cost, limit)
    solvers = (agents.get(name)(env, episodes=1, seed=seed) for name in _SOLVERS)
    solved = [agent.solve(limit)[0] for agent in solvers if isinstance(agent, SolverAgent)]
    found = [*([] if uniform is None else [uniform]), *solved]
    return [dict(each) for each in {tuple(choices.items()): choices for choices in found}.values()]


def play(search: Search, reporter: Reporter) -> list[EpisodeRecord]:
    """Play the experiment's episodes, going on where the run stopped."""
    problem, run = search.problem, search.problem.run
    rows = [EpisodeRecord.from_row(row) for row in run.episodes()]
    checkpoint = Checkpoint(run, search.agent, len(rows))
    search.agent.keep_files_in(run.path)
    total, spec = search.episodes, problem.task.scored_as
    writer = SearchWriter(
        run.file("tensorboard"),
        problem.space,
        kind=problem.cost.kind,
        unit=problem.cost.unit,
        limit=search.agent.env.limit,
        dense_cost=problem.cost.dense,
        scored_as=spec,
        first_episode=len(rows),
        earlier=[row.to_row() for row in rows],
    )
    what = f"search with {search.agent.name}, {problem.wanted}"
    audience = search.scores.audience
    with writer, audience, search.scores.home, reporter.stage("search", what, total, len(rows)) as bar:
        known = list(rows)
        audience.begin(rows)

        def finished(record: EpisodeRecord) -> None:
            run.append_episode(record.to_row())
            known.append(record)
            checkpoint.played(record.episode + 1)
            writer.episode(record.to_row(), search.agent.scalars())
            audience.finished(record)
            reporter.happened("episode", record.to_row())
            _show(bar, within(known, search.agent.env.limit), len(known), problem)

        search.records = run_search(search.agent, total, finished, rows=rows, batch=search.scores.batch)
        if len(rows) < len(search.records):
            checkpoint.save(len(search.records))  # of the whole search: another run may start from it
        audience.ended()
        leader = agents.best(search.within)[0]
        writer.policy_picture(leader.choices)
        writer.hparams(
            {k: v for k, v in problem.experiment.model_dump(mode="json").items() if isinstance(v, int | float | str)},
            {f"best_{spec.key}": leader.value, "best_cost": leader.predicted_cost},
        )
    reporter.say(
        f"best of {len(search.records)} episodes: {spec.text(leader.value)} on the search split before fine-tuning,"
        f" {figure(leader.predicted_cost)} of {figure(search.agent.env.limit)} {problem.cost.unit} (predicted)"
    )
    if given_up := [row.share for row in search.records if row.images is not None and not row.cached]:
        reporter.say(_spared(given_up, search))
    return search.records


def _spared(given_up: Sequence[float], search: Search) -> str:
    """What racing saved; the time is that of this process."""
    scored = sum(not row.cached for row in search.records)
    needed = (scored - sum(1 - share for share in given_up)) / scored
    seconds = 0.0 if search.scores.race is None else search.scores.race.spared_seconds
    return (
        f"{len(given_up)} of {scored} candidates were clearly worse than the {search.problem.experiment.finalists} best"
        f" and given up early: {needed:.0%} of the images were scored, about {seconds:.1f} s spared"
    )


def _show(bar: Bar, known: Sequence[EpisodeRecord], count: int, problem: Problem) -> None:
    leader = agents.best(known)[0]
    bar.update(
        count,
        best=problem.task.scored_as.text(leader.value),
        cost=f"{figure(leader.predicted_cost)}/{figure(problem.limit)} {problem.cost.unit}",
    )


def uniform_choices(problem: Problem) -> dict[str, int]:
    """The uniform policy with the largest ratio within the limit; where none is, the nearest feasible one."""
    uniform = largest_uniform(problem.cost, problem.limit)
    if uniform is not None:
        return uniform
    return project(problem, {d.name: d.options[0] for d in problem.space.decisions})


def project(problem: Problem, choices: Mapping[str, int]) -> dict[str, int]:
    """The feasible policy nearest to `choices`, decision by decision in forward order."""
    return nearest_within(problem.cost, problem.limit, choices)


def nearest_within(cost: CostModel, limit: float, choices: Mapping[str, int]) -> dict[str, int]:
    """The policy within a limit that is nearest to `choices`, decision by decision in forward order.

    Raises:
        BudgetError: If no policy is.
    """
    feasible = FeasibleActions(cost, limit)
    for decision in cost.space.decisions:
        allowed = [o for o, ok in zip(range(len(decision.options)), feasible.allowed(), strict=True) if ok]
        wanted = choices[decision.name]
        feasible.take(min(allowed, key=lambda o: (abs(decision.options[o] - wanted), -o)))
    return feasible.known_policy
