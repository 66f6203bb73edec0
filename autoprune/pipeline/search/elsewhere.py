"""Policies timed on the further targets that budgets name, and what they take of every budget that is timed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from autoprune.cost.metrics import Timing, Verdict
from autoprune.foundations.progress import Progress, no_progress
from autoprune.hardware import Measurement, measure
from autoprune.pipeline.problem import Elsewhere, Problem
from autoprune.pipeline.search.sessions import policy_key, session_plan, time_policies, timing_of

__all__ = ["measured_shares", "verdict_elsewhere"]


def measured_shares(
    problem: Problem, policies: Sequence[Mapping[str, int]], progress: Progress = no_progress
) -> list[dict[str, float]]:
    """What policies take of every budget on what is timed, as measured.

    Args:
        problem: Its latency models are refined by every session.
        policies: Choices.
        progress: Called with (networks, all, what is done with them).

    Returns:
        For each policy: name of the budget -> share of its limit, the dense network timed in the same session.
    """
    shares: list[dict[str, float]] = [{} for _ in policies]
    if problem.timed is not None:
        for row, timing in zip(shares, time_policies(problem, policies, progress), strict=True):
            row[problem.timed.name] = timing.over
    for other in problem.elsewhere:
        for row, timing in zip(shares, _timed(problem, other, policies, progress), strict=True):
            row[other.budget.name] = timing.over
    return shares


def _timed(
    problem: Problem, other: Elsewhere, policies: Sequence[Mapping[str, int]], progress: Progress
) -> list[Timing]:
    """Timings of policies on a further target; read back where the run has them."""
    state, name = problem.state, other.budget.name
    missing = {policy_key(c): c for c in policies if (name, policy_key(c)) not in state.elsewhere}
    if missing:
        session = problem.run.once(
            f"timing on {name}: {', '.join(missing)}",
            lambda: _session(problem, other, [problem.small(c) for c in missing.values()], progress),
        )
        taken = [Measurement.from_json(each) for each in session["taken"]]
        limit = other.budget.limit(taken[0].ms)
        state.elsewhere |= {
            (name, key): timing_of(each, taken[0], limit) for key, each in zip(missing, taken[1:], strict=True)
        }
        state.seconds += session["seconds"]
        if other.table is not None:
            other.table.refit(list(zip([problem.space.dense, *missing.values()], taken, strict=True)))
            state.reprice(other.table.cost(), other.budget, name)
    return [state.elsewhere[name, policy_key(c)] for c in policies]


def _session(
    problem: Problem, other: Elsewhere, networks: Sequence[nn.Module], progress: Progress, *, final: bool = False
) -> dict[str, Any]:
    """The dense network and others timed on a further target, as JSON values."""
    start = time.monotonic()
    plan = session_plan(problem, final=final, metered=False)
    example = problem.task.timed_example
    taken = measure([problem.task.model, *networks], example, other.target, plan, progress=progress)
    found = [{**each.to_json(), "conditions": each.stored_conditions()} for each in taken]
    return {"taken": found, "seconds": round(time.monotonic() - start, 3)}


def verdict_elsewhere(
    problem: Problem, other: Elsewhere, network: nn.Module, key: str, progress: Progress = no_progress
) -> Verdict:
    """A finished network held against the budget of a further target, the dense one timed beside it.

    Args:
        problem: What was searched.
        other: Target and budget.
        network: The finished network.
        key: What tells this session from the run's others.
        progress: Called with (networks, all, what is done with them).
    """
    session = problem.run.once(
        f"final timing on {other.budget.name} {key}",
        lambda: _session(problem, other, [network], progress, final=True),
    )
    dense, small = (Measurement.from_json(each) for each in session["taken"])
    return Verdict(small.ms, other.budget.limit(dense.ms), "measured")
