"""Policies timed on the target; every session is stored in the run before anything is decided on it."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from torch import nn

from autoprune.cost.metrics import Timing
from autoprune.errors import AutopruneError
from autoprune.foundations.progress import Progress, no_progress
from autoprune.hardware import DeviceTable, Measurement, TimingPlan, measure
from autoprune.hardware.tables.entries import Entry
from autoprune.hardware.timing.measure import uncertainty
from autoprune.pipeline import allowance
from autoprune.pipeline.problem import Problem

__all__ = ["least_timed", "policy_key", "session_plan", "time_finished", "time_for_more", "time_policies", "timing_of"]

_METER = 1.0  # seconds for each network under the counter of energy, where there is one and somebody asks


def timing_of(measured: Measurement, dense: Measurement, limit_ms: float | None) -> Timing:
    """What a measurement says, beside the dense network's of the same session."""
    found = measured.conditions
    stable = measured.stable and dense.stable
    energy, source = found.get("energy_mj"), found.get("energy_source")
    dense_energy = dense.conditions.get("energy_mj")
    readings = found.get("readings", ())
    return Timing(measured.ms, dense.ms, limit_ms, measured.spread, stable, energy, source, dense_energy, readings)


def policy_key(choices: Mapping[str, int]) -> str:
    """A short name for a policy, the same in every session."""
    return hashlib.sha256(json.dumps(sorted(choices.items())).encode()).hexdigest()[:12]


def time_policies(
    problem: Problem, policies: Sequence[Mapping[str, int]], progress: Progress = no_progress
) -> list[Timing]:
    """Time several policies and the dense network, interleaved, and refine the latency model with what they took.

    A resumed run does not time again: it reads its sessions back, one after the other, and comes by the same latency
    models and limits at the same points as if it had never stopped.

    Raises:
        AutopruneError: If the run timed other policies at this point.
    """
    state = problem.state
    missing = list({key: c for c in policies if (key := policy_key(c)) not in state.timed}.values())
    if missing:
        session = problem.run.once(f"timing session {state.sessions}", lambda: _session(problem, missing, progress))
        if list(session["timings"]) != [policy_key(c) for c in missing]:
            raise AutopruneError(
                f"{problem.run.path} timed other policies at this point when it was first run;"
                " settings, versions and latency table must be those that it was started with"
            )
        timings = {key: Timing(**timing) for key, timing in session["timings"].items()}
        state.add_session(timings, session.get("seconds", 0.0))
        _learn(problem, missing, session)
    return [state.timed[policy_key(c)] for c in policies]


def time_for_more(problem: Problem) -> bool:
    """Whether a session that is wanted, not needed, may begin: the time for timing is not over.

    What was decided is kept, so that a resumed run goes the same way.
    """
    state = problem.state

    def enough() -> bool:
        wanted = allowance.effort_of(problem.experiment).of_session
        return wanted == math.inf or allowance.left(problem.run, state.seconds) >= wanted

    return problem.run.once(f"time for timing session {state.sessions}", enough)


def least_timed(problem: Problem) -> float | None:
    """The least milliseconds that any policy of this run took; None before the first was timed."""
    return min((timing.ms for timing in problem.state.timed.values()), default=None)


def time_finished(
    problem: Problem, networks: Mapping[str, nn.Module], progress: Progress = no_progress
) -> dict[str, Timing]:
    """Finished networks on the problem's target, with their energy: what is reported, and the last word on a budget.

    Args:
        problem: Its target times; whether in several passes depends on its budget.
        networks: By name, `dense` among them, and first; the verdict is on `finetuned`.
        progress: Called with (networks, all, what is done with them).
    """
    names, start = list(networks), time.monotonic()
    plan = session_plan(problem, final=True, metered=True)
    judged = [names.index("finetuned")] if "finetuned" in names else []
    undecided = partial(_undecided, problem, judged, 1.0)
    example = problem.task.timed_example
    taken = measure(list(networks.values()), example, problem.target, plan, progress=progress, undecided=undecided)
    problem.state.seconds += time.monotonic() - start
    measured = dict(zip(names, taken, strict=True))
    dense = measured["dense"]
    limit = _limit_in_session(problem, dense)
    return {name: timing_of(m, dense, limit) for name, m in measured.items()}


def session_plan(problem: Problem, *, final: bool, metered: bool) -> TimingPlan:
    """How whole networks are compared now; in several passes where the budget hangs on what they take."""
    effort, state = allowance.effort_of(problem.experiment), problem.state
    seconds = allowance.of_session(problem.run, state.seconds, final=final)
    plan = effort.plan(seconds, final=final)
    plan = plan if problem.is_timed else TimingPlan(plan.protocol, seconds=seconds)
    return plan.metered(_METER) if metered else plan


def _undecided(problem: Problem, judged: Sequence[int], margin: float, measured: Sequence[Measurement]) -> str | None:
    """Which networks may lie on either side of the limit, as far as they have been measured; None if none does.

    Args:
        problem: Its budget.
        judged: Places of the networks on which something is decided; the dense one is the first.
        margin: Share of the budget that they may take.
        measured: All networks of the session.
    """
    limit = _limit_in_session(problem, measured[0])
    if limit is None:
        return None
    of_limit = uncertainty(measured[0]) if problem.timed is not None and problem.timed.relative else 0.0
    near = [
        share
        for place in judged
        if abs(share := measured[place].ms / limit / margin - 1) <= math.hypot(uncertainty(measured[place]), of_limit)
    ]
    return f"{len(near)} of {len(judged)} within {max(map(abs, near)):.1%} of the limit" if near else None


def _limit_in_session(problem: Problem, dense: Measurement) -> float | None:
    """The budget in milliseconds: a share is a share of the dense network as timed in the same session."""
    return None if problem.timed is None else problem.timed.limit(dense.ms)


def _session(problem: Problem, policies: Sequence[Mapping[str, int]], progress: Progress) -> dict[str, Any]:
    """Time whole networks, then those of their layers that were only estimated so far; as JSON values."""
    start = time.monotonic()
    networks = [problem.task.model, *(problem.small(c) for c in policies)]
    plan = session_plan(problem, final=False, metered=problem.metered or any(b.metric.metered for b in problem.budgets))
    undecided = partial(_undecided, problem, range(1, len(networks)), problem.state.margin)
    example = problem.task.timed_example
    dense, *measured = measure(networks, example, problem.target, plan, progress=progress, undecided=undecided)
    limit = _limit_in_session(problem, dense)
    timings = {policy_key(c): asdict(timing_of(m, dense, limit)) for c, m in zip(policies, measured, strict=True)}
    # What is in the table: device and versions are there once.
    taken = [{**m.to_json(), "conditions": m.stored_conditions()} for m in (dense, *measured)]
    seconds = max(0.0, plan.seconds - (time.monotonic() - start))
    layers = _measured_layers(problem, policies, progress, seconds)
    return {"timings": timings, "taken": taken, "layers": layers, "seconds": round(time.monotonic() - start, 3)}


def _measured_layers(
    problem: Problem, policies: Sequence[Mapping[str, int]], progress: Progress, seconds: float
) -> dict[str, Any]:
    """Layers of these policies and of the dense network that had only been estimated, now measured; by key."""
    if problem.table is None:
        return {}
    visited = [problem.space.dense, *(problem.space.complete(c) for c in policies)]
    before = {key: problem.table.entries.get(key) for key in problem.table.visited(visited)}
    problem.table.measure_missing(visited, problem.target, progress, seconds=seconds)
    new = {key: e for key, was in before.items() if (e := problem.table.entries[key]) != was}
    if new and problem.experiment.table is not None:
        DeviceTable(problem.table.fingerprint, dict(new), problem.table.overhead).extend(problem.experiment.table)
    return {key: e.to_json() for key, e in new.items()}


def _learn(problem: Problem, policies: Sequence[Mapping[str, int]], session: Mapping[str, Any]) -> None:
    """Fit the correction again with what the whole networks took, and take the exact layers in."""
    if problem.table is None:
        return
    problem.table.add({key: Entry(**entry) for key, entry in session["layers"].items()})
    taken = [Measurement.from_json(each) for each in session["taken"]]
    problem.table.refit(list(zip([problem.space.dense, *policies], taken, strict=True)))
    problem.table.save(problem.run.file("latency_table.json"))
    cost = problem.table.cost()
    problem.state.reprice(cost, problem.timed, cost.kind)
