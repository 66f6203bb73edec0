"""One agent for several budgets: trained once, in the first of the runs that differ in nothing but their budget."""

from __future__ import annotations

from pathlib import Path

from autoprune import agents
from autoprune.cost.budget import Budget
from autoprune.errors import RunError
from autoprune.foundations.files import read_json, replacing
from autoprune.pipeline.problem import Problem

__all__ = ["SIBLINGS", "limits_of", "take_over"]

SIBLINGS = "siblings"
"""Name in the journal of what a run knows of its siblings: all amounts of the budget, and the first one's folder."""


_DECIDED = ("solvers' answers", "dense search score")  # in the journal, by the search that is taken over


def limits_of(problem: Problem) -> tuple[float, ...]:
    """What the episodes of the search may cost in turn, in the cost's unit: the limits of a run and its siblings.

    Returns:
        Rising, none of those that no policy meets. Empty where the agent is trained for the run's own budget alone: of
        a whole front, from another run's agent, of an agent that does not see the budget, without siblings.
    """
    siblings = problem.run.recall(SIBLINGS)
    if siblings is None or problem.run.episodes():  # of a search that began alone
        return ()
    experiment = problem.experiment
    if experiment.front or experiment.warm_start or not agents.get(experiment.agent).serves_several_budgets:
        return ()
    least = problem.cost.least()[0]
    limits = {_limit(problem, amount) for amount in siblings["amounts"]}
    return tuple(sorted(limit for limit in limits if limit >= least))


def _limit(problem: Problem, amount: str) -> float:
    """What a policy may be predicted to cost under another amount of the budget."""
    budget, cost = Budget.parse(problem.budget.name, amount), problem.price_of(problem.budget)
    return budget.metric.planned(budget.limit(cost.dense), cost)


def take_over(problem: Problem, checkpoint: str) -> bool:
    """Take over the episodes and the agent of the first sibling, so that nothing is searched twice.

    Left alone is what has begun a search of its own, and a sibling that another grid of widths was needed for, or
    that knows of other amounts.

    Args:
        problem: Of a run that is about to search.
        checkpoint: The agent's file, relative to a run's folder.

    Returns:
        Whether there was something to take over.
    """
    run, siblings = problem.run, problem.run.recall(SIBLINGS)
    first = Path(siblings["first"])
    episodes, agent = first / "episodes.jsonl", first / checkpoint
    if first.resolve() == run.path.resolve() or run.episodes() or not (episodes.exists() and agent.exists()):
        return False
    try:
        known = read_json(first / "checkpoint" / "journal.json", "journal")
    except RunError:
        return False
    if any(known.get(key) != run.recall(key) for key in ("granularity", "search limits")):
        return False
    if known.get(SIBLINGS, {}).get("amounts") != siblings["amounts"]:
        return False
    for key in _DECIDED:
        if key in known:
            run.remember(key, known[key])
    for source in (agent, episodes):  # the rows last: they alone say that there is a search
        goal = run.file(str(source.relative_to(first)))
        with replacing(goal) as temporary:
            temporary.write_bytes(source.read_bytes())
    return True
