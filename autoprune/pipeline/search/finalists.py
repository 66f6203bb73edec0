"""The budget as measured: candidates timed on the target, beside the dense network, in one session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoprune import agents
from autoprune.agents import EpisodeRecord, best
from autoprune.cost.metrics import Timing
from autoprune.envs import largest_uniform, top_up
from autoprune.errors import BudgetError
from autoprune.foundations.progress import Progress, no_progress
from autoprune.pipeline.problem import Problem, figure
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.play import project, uniform_choices
from autoprune.pipeline.search.sessions import least_timed, policy_key, time_for_more, time_policies

__all__ = ["Candidate", "Merit", "uniform_within", "within_budget"]

Merit = Callable[[Mapping[str, int]], float]
"""How good a policy is before fine-tuning; the larger, the better."""

_BATCH = 6  # policies timed together before the next are looked at
_ROUNDS = 6  # times that the limit is tightened before the budget is given up


@dataclass(frozen=True)
class Candidate:
    """A policy in the running: its merit before fine-tuning, and its timing where the budget needs one."""

    choices: dict[str, int]
    merit: float
    timing: Timing | None


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

    Only a budget on what is timed needs measuring. Policies are timed in the order of their merits until
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
        passed, timings = _first_that_pass(problem, predicted, wanted, progress)
        if passed:
            return widen_all(problem, passed, merit, reporter, without, progress)
        if timings or turn:  # else the limit was tightened before, and nothing has been tried behind it yet
            over = sorted(t.over for t in timings)[len(timings) // 2] if timings else 1.0
            limit = _tightened(problem, over)
            reporter.say(
                f"none of {len(timings)} finalists meets the budget as measured (median {over:.1%} of it);"
                f" limit tightened from {figure(problem.limit)} to {figure(limit)} {problem.cost.unit}"
            )
            if limit < problem.cost.least()[0]:
                break
            problem.tighten(limit)
        moved = project_all(problem, [c for c, _ in (ranked or pool)[: 4 * wanted]])
        ranked = sorted(((c, merit(c)) for c in moved if policy_key(c) not in without), key=lambda pair: -pair[1])
    least = least_timed(problem)
    raise BudgetError(
        f"the budget {problem.budget} could not be met as measured on {problem.target.name}; the least measured is"
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


def _tightened(problem: Problem, over: float) -> float:
    """The limit less the measured error; the least that can be reached is tried before a noisy session ends the job."""
    limit = problem.limit * min(0.99, problem.state.margin / max(over, 1e-9))
    least = problem.cost.least()[0]
    return max(limit, least) if problem.limit > 1.001 * least else limit


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
) -> tuple[list[Candidate], list[Timing]]:
    """Up to `wanted` candidates within the budget, timing the best-scored first, and all timings taken.

    Batch by batch; the first batch of which none passes is the last, and the one with which the time is over.
    """
    if not problem.metric.timed:
        return [Candidate(c, s, None) for c, s in ranked[:wanted]], []  # counts are exact
    passed: list[Candidate] = []
    timings = []
    size = max(_BATCH, wanted)
    for start in range(0, min(len(ranked), 4 * size), size):
        batch = ranked[start : start + size]
        if passed and not time_for_more(problem):
            break
        timed = time_policies(problem, [c for c, _ in batch], progress)
        timings += timed
        passed += [Candidate(c, s, t) for (c, s), t in zip(batch, timed, strict=True) if t.over <= problem.state.margin]
        if len(passed) >= wanted or not passed:
            break  # where none of a batch passes, the predictions are too low for the others as well
    return passed[:wanted], timings


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
        if problem.metric.timed and not time_for_more(problem):
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
    predicted, margins = problem.cost.cost(candidate.choices), problem.margins
    over = candidate.timing.over if candidate.timing is not None else predicted / problem.limit
    if over >= problem.state.margin / margins.finalist * (1 - margins.room):
        return None
    margin = (
        problem.state.margin * margins.finalist**attempt if candidate.timing is not None else 1.0
    )  # counts are exact
    indices = problem.space.indices(candidate.choices)
    draw = np.random.default_rng((int(policy_key(candidate.choices), 16), attempt))
    wider = problem.space.choices(top_up(problem.cost, margin * predicted / over, indices, draw))
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
        over = time_policies(problem, [choices], progress)[0].over if problem.metric.timed else 0.0
        if over <= problem.state.margin and policy_key(choices) not in without:
            return choices
        limit = min(
            problem.cost.cost(choices) * problem.margins.uniform,
            limit * problem.state.margin / max(over, problem.state.margin),
        )
    return None
