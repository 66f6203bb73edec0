"""The budget as measured: candidates timed on the target, beside the dense network, in one session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autoprune import agents
from autoprune.agents import EpisodeRecord, best
from autoprune.envs import largest_uniform, top_up
from autoprune.errors import BudgetError
from autoprune.foundations.progress import Progress, no_progress
from autoprune.pipeline.problem import Problem, figure
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.elsewhere import measured_shares
from autoprune.pipeline.search.play import project, uniform_choices
from autoprune.pipeline.search.sessions import least_timed, policy_key, time_for_more

__all__ = ["Candidate", "Merit", "uniform_within", "within_budget"]

Merit = Callable[[Mapping[str, int]], float]
"""How good a policy is before fine-tuning; the larger, the better."""

_BATCH = 6  # policies timed together before the next are looked at
_ROUNDS = 6  # times that the limit is tightened before the budget is given up


@dataclass(frozen=True)
class Candidate:
    """A policy in the running.

    Attributes:
        choices: Kept units by decision.
        merit: Before fine-tuning.
        shares: What it takes of every budget on what is timed, as measured; empty where nothing was.
    """

    choices: dict[str, int]
    merit: float
    shares: Mapping[str, float] = field(default_factory=dict)


def within_budget(
    problem: Problem,
    records: Sequence[EpisodeRecord],
    merit: Merit,
    reporter: Reporter,
    *,
    without: Sequence[str] = (),
    progress: Progress = no_progress,
) -> list[Candidate]:
    """The best policies by merit that meet the budget as measured, best first.

    Only budgets on what is timed need measuring. Policies are timed in the order of their merits until
    enough have met it. If none does, the limit is tightened by the measured error and the best policies are narrowed
    until they fit the new limit.

    Args:
        problem: Its limit is tightened in place.
        records: The search's episodes.
        merit: Scores policies that the search has not seen; the larger, the better.
        reporter: Who watches.
        without: Keys of policies that are out of the running.
        progress: Called with (networks, all, what is done with them).

    Raises:
        BudgetError: If no policy meets the budget as measured, after several rounds.
    """
    wanted, spec = problem.experiment.finalists, problem.task.scored_as
    pool = _unlike_first([(dict(r.choices), spec.merit(r.value)) for r in best(records, len(records))])
    ranked = [(c, s) for c, s in pool if policy_key(c) not in without]
    for turn in range(_ROUNDS):
        predicted = [(c, s) for c, s in ranked if problem.cost.cost(c) <= problem.limit]
        passed, shares = _first_that_pass(problem, predicted, wanted, progress)
        if passed:
            return widen_all(problem, passed, merit, reporter, without, progress)
        if shares or turn:  # else the limit was tightened before, and nothing has been tried behind it yet
            factors = _tightening(problem, shares)
            reporter.say(_tightened(problem, shares, factors))
            if _out_of_reach(problem, factors):
                break
            problem.tighten(factors)
        moved = project_all(problem, [c for c, _ in (ranked or pool)[: 4 * wanted]])
        ranked = sorted(((c, merit(c)) for c in moved if policy_key(c) not in without), key=lambda pair: -pair[1])
    least = least_timed(problem)
    raise BudgetError(
        f"the budget {problem.wanted} could not be met as measured on {problem.target.name}; the least measured is"
        f" {figure(least) if least is not None else 'unknown'} ms. Raise the budget, or lower --granularity",
        least,
    )


def _is_baseline(problem: Problem) -> bool:
    """Whether the run is of a baseline, whose policies must stay what its name says."""
    return agents.get(problem.experiment.agent).is_baseline


def project_all(problem: Problem, policies: Sequence[dict[str, int]]) -> list[dict[str, int]]:
    """Policies narrowed until they fit the limit, each once; in a run of a baseline, the uniform one there."""
    if _is_baseline(problem):
        return [uniform_choices(problem)]
    return list({policy_key(c): c for c in (project(problem, c) for c in policies)}.values())


def _tightening(problem: Problem, shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What the limits are changed by: those less the measured error that are exceeded, of several at least one.

    The least that can be reached is tried before a noisy session ends the job.
    """
    timed = [each for each in problem.budgets if each.metric.timed] or problem.budgets
    medians = {each.name: _median(shares, each.name) for each in timed}
    missed = [name for name, over in medians.items() if over > problem.state.margin]
    chosen = missed or [max(medians, key=lambda name: medians[name])]
    factors = {name: min(0.99, problem.state.margin / max(medians[name], 1e-9)) for name in chosen}
    least = problem.cost.least()[0] / problem.limit
    return {name: max(factor, least) if least < 1 / 1.001 else factor for name, factor in factors.items()}


def _median(shares: Sequence[Mapping[str, float]], name: str) -> float:
    found = sorted(each[name] for each in shares)
    return found[len(found) // 2] if found else 1.0


def _tightened(problem: Problem, shares: Sequence[Mapping[str, float]], factors: Mapping[str, float]) -> str:
    """What is said of it."""
    medians = ", ".join(f"median {_median(shares, name):.1%} of it" for name in factors)
    changes = []
    for name, factor in factors.items():
        before, unit = problem.state.limits[name], problem.state.costs[name].unit
        what = f"{name} " if len(problem.budgets) > 1 else ""
        changes.append(f"{what}from {figure(before)} to {figure(before * factor)} {unit}")
    return (
        f"none of {len(shares)} finalists meets the budget as measured ({medians});"
        f" limit tightened {' and '.join(changes)}"
    )


def _out_of_reach(problem: Problem, factors: Mapping[str, float]) -> bool:
    cost, limit = problem.state.within(factors)
    return limit < cost.least()[0]


def _unlike_first(ranked: list[tuple[dict[str, int], float]]) -> list[tuple[dict[str, int], float]]:
    """The same policies, those first that differ from every better one in a quarter of the decisions or more.

    An agent that has converged fills the top with near copies; fine-tuning those would compare nothing.
    """
    leaders: list[tuple[dict[str, int], float]] = []
    copies: list[tuple[dict[str, int], float]] = []
    for choices, score in ranked:
        least = max(1, len(choices) // 4)
        near = any(sum(choices[n] != other[n] for n in choices) < least for other, _ in leaders)
        (copies if near else leaders).append((choices, score))
    return leaders + copies


def _first_that_pass(
    problem: Problem, ranked: Sequence[tuple[dict[str, int], float]], wanted: int, progress: Progress
) -> tuple[list[Candidate], list[dict[str, float]]]:
    """Up to `wanted` candidates within the budgets, timing the best-scored first, and all shares measured.

    Batch by batch; the first batch of which none passes is the last, and the one with which the time is over.
    """
    if not problem.is_timed:
        return [Candidate(c, s) for c, s in ranked[:wanted]], []  # counts are exact
    passed: list[Candidate] = []
    shares = []
    size = max(_BATCH, wanted)
    for start in range(0, min(len(ranked), 4 * size), size):
        batch = ranked[start : start + size]
        if passed and not time_for_more(problem):
            break
        measured = measured_shares(problem, [c for c, _ in batch], progress)
        shares += measured
        passed += [
            Candidate(c, s, each)
            for (c, s), each in zip(batch, measured, strict=True)
            if max(each.values()) <= problem.state.margin
        ]
        if len(passed) >= wanted or not passed:
            break  # where none of a batch passes, the predictions are too low for the others as well
    return passed[:wanted], shares


def widen_all(
    problem: Problem,
    passed: Sequence[Candidate],
    merit: Merit,
    reporter: Reporter,
    without: Sequence[str],
    progress: Progress,
) -> list[Candidate]:
    """The candidates, those that leave much of the limit unspent grown until it is spent, where that scores better.

    A policy is priced by prediction and admitted by measurement: where it measures faster than predicted, and where
    an agent stopped short, the difference is accuracy given away. What is grown has to pass the measurement as well,
    and may be grown again, since that measurement has corrected the prediction. A baseline stays what its name
    says. Every attempt goes another way, a little less far: the last may have measured too slow. None is made once the
    time for timing is over.
    """
    if _is_baseline(problem):
        return list(passed)
    left, tried, widened = list(passed), {*(policy_key(c.choices) for c in passed), *without}, 0
    for attempt in range(_ROUNDS):
        grown = {policy_key(c.choices): widen(problem, c, attempt) for c in left}
        wider = [c for c in grown.values() if c is not None and policy_key(c) not in tried]
        if not wider:
            continue
        if problem.is_timed and not time_for_more(problem):
            break
        tried |= {policy_key(choices) for choices in wider}
        fits, _ = _first_that_pass(problem, [(choices, merit(choices)) for choices in wider], len(wider), progress)
        better = {policy_key(c.choices): c for c in fits}
        for place, candidate in enumerate(left):
            choices = grown[policy_key(candidate.choices)]
            after = better.get(policy_key(choices)) if choices is not None else None
            if after is not None and after.merit >= candidate.merit:
                left[place] = after
                widened += 1
    if widened:
        reporter.say(
            f"finalists that left more than {problem.margins.room:.0%} of the budget unspent were widened,"
            f" {widened} times"
        )
    unlike = {policy_key(candidate.choices): candidate for candidate in left}
    return sorted(unlike.values(), key=lambda candidate: -candidate.merit)


def widen(problem: Problem, candidate: Candidate, attempt: int) -> dict[str, int] | None:
    """The candidate widened in random order up to what its own measurement says the limit is; None if it is full."""
    margins, state = problem.margins, problem.state
    predicted = {name: state.costs[name].cost(candidate.choices) / limit for name, limit in state.limits.items()}
    if max({**predicted, **candidate.shares}.values()) >= state.margin / margins.finalist * (1 - margins.room):
        return None
    margin = state.margin * margins.finalist**attempt
    # Counts are exact; what is timed may be predicted to cost as much more as it measured less.
    factors = {name: margin * predicted[name] / share for name, share in candidate.shares.items()}
    indices = problem.space.indices(candidate.choices)
    draw = np.random.default_rng((int(policy_key(candidate.choices), 16), attempt))
    wider = problem.space.choices(top_up(*state.within(factors), indices, draw))
    return wider if wider != candidate.choices else None


def uniform_within(
    problem: Problem, without: Sequence[str] = (), progress: Progress = no_progress
) -> dict[str, int] | None:
    """The largest uniform policy that meets the budget as measured; None if no uniform policy does.

    Args:
        problem: What it is searched on.
        without: Keys of policies that are out of the running.
        progress: Called with (networks, all, what is done with them).
    """
    limit = problem.limit
    for _ in range(_ROUNDS):
        choices = largest_uniform(problem.cost, limit)
        if choices is None:
            return None
        over = max(measured_shares(problem, [choices], progress)[0].values(), default=0.0)
        if over <= problem.state.margin and policy_key(choices) not in without:
            return choices
        limit = min(
            problem.cost.cost(choices) * problem.margins.uniform,
            limit * problem.state.margin / max(over, problem.state.margin),
        )
    return None
