"""Policies timed on the target; every session is stored in the run before anything is decided on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from autoprune.cost.metrics import Timing
from autoprune.errors import AutopruneError
from autoprune.hardware import DeviceTable, Measurement, Protocol, TimingPlan, measure
from autoprune.hardware.tables.entries import Entry
from autoprune.pipeline.problem import Problem

__all__ = ["least_timed", "policy_key", "time_finished", "time_policies", "timing_of"]

# Four processes at most in which networks are timed before something is decided on what they took; for the last word
# eight, where these do not agree.
_PLAN = TimingPlan(Protocol(block=0.06), passes=4, most=4)
_LAST = replace(_PLAN, most=8)
_METER = 1.0  # seconds for each network under the counter of energy, where there is one and somebody asks


def timing_of(measured: Measurement, dense: Measurement, limit_ms: float | None) -> Timing:
    """What a measurement says, beside the dense network's of the same session."""
    found = measured.conditions
    stable = measured.stable and dense.stable
    energy, source = found.get("energy_mj"), found.get("energy_source")
    dense_energy = dense.conditions.get("energy_mj")
    return Timing(measured.ms, dense.ms, limit_ms, measured.spread, stable, energy, source, dense_energy)


def policy_key(choices: Mapping[str, int]) -> str:
    """A short name for a policy, the same in every session."""
    return hashlib.sha256(json.dumps(sorted(choices.items())).encode()).hexdigest()[:12]


def time_policies(problem: Problem, policies: Sequence[Mapping[str, int]]) -> list[Timing]:
    """Time several policies and the dense network, interleaved, and refine the latency model with what they took.

    A resumed run does not time again: it reads its sessions back, one after the other, and comes by the same latency
    models and limits at the same points as if it had never stopped.

    Raises:
        AutopruneError: If the run timed other policies at this point.
    """
    state = problem.state
    missing = list({key: c for c in policies if (key := policy_key(c)) not in state.timed}.values())
    if missing:
        session = problem.run.once(f"timing session {state.sessions}", lambda: _session(problem, missing))
        if list(session["timings"]) != [policy_key(c) for c in missing]:
            raise AutopruneError(
                f"{problem.run.path} timed other policies at this point when it was first run;"
                " settings, versions and latency table must be those that it was started with"
            )
        state.add_session({key: Timing(**timing) for key, timing in session["timings"].items()})
        _learn(problem, missing, session)
    return [state.timed[policy_key(c)] for c in policies]


def least_timed(problem: Problem) -> float | None:
    """The least milliseconds that any policy of this run took; None before the first was timed."""
    return min((timing.ms for timing in problem.state.timed.values()), default=None)


def time_finished(problem: Problem, networks: Mapping[str, nn.Module]) -> dict[str, Timing]:
    """Finished networks on the problem's target, with their energy: what is reported, and the last word on a budget.

    Args:
        problem: Its target times; whether in several passes depends on its budget.
        networks: By name, `dense` among them.
    """
    measured = dict(zip(networks, _timed(problem, list(networks.values()), _LAST, metered=True), strict=True))
    dense = measured["dense"]
    limit = _limit_in_session(problem, dense)
    return {name: timing_of(m, dense, limit) for name, m in measured.items()}


def _timed(problem: Problem, networks: Sequence[nn.Module], plan: TimingPlan, *, metered: bool) -> list[Measurement]:
    """Whole networks to be compared; in several passes where the budget hangs on what they take."""
    plan = plan if problem.metric.timed else TimingPlan(plan.protocol)
    plan = plan.metered(_METER) if metered else plan
    example, target = problem.task.timed_example, problem.target
    return measure(networks, example, target, plan)


def _limit_in_session(problem: Problem, dense: Measurement) -> float | None:
    """The budget in milliseconds: a share is a share of the dense network as timed in the same session."""
    return problem.budget.limit(dense.ms) if problem.metric.timed else None


def _session(problem: Problem, policies: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """Time whole networks, then those of their layers that were only estimated so far; as JSON values."""
    networks = [problem.task.model, *(problem.small(c) for c in policies)]
    dense, *measured = _timed(problem, networks, _PLAN, metered=problem.metric.metered or problem.metered)
    limit = _limit_in_session(problem, dense)
    timings = {policy_key(c): asdict(timing_of(m, dense, limit)) for c, m in zip(policies, measured, strict=True)}
    # What is in the table: device and versions are there once.
    taken = [{**m.to_json(), "conditions": m.stored_conditions()} for m in (dense, *measured)]
    return {"timings": timings, "taken": taken, "layers": _measured_layers(problem, policies)}


def _measured_layers(problem: Problem, policies: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """Layers of these policies and of the dense network that had only been estimated, now measured; by key."""
    if problem.table is None:
        return {}
    visited = [problem.space.dense, *(problem.space.complete(c) for c in policies)]
    before = {key: problem.table.entries.get(key) for key in problem.table.visited(visited)}
    problem.table.measure_missing(visited, problem.target)
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
    problem.state.reprice(problem.table.cost(), problem.budget)
