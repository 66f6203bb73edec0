"""Policies timed on the target; every session stands in the run before anything is decided on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from autoprune.errors import AutopruneError
from autoprune.hardware import DeviceTable, Measurement, Protocol, measure
from autoprune.hardware.tables.entries import Entry
from autoprune.pipeline.problem import Problem
from autoprune.run.experiment import PROGRESSIVE

__all__ = ["Timing", "least_timed", "limit_in_session", "policy_key", "time_finished", "time_policies"]

_PASSES = 4  # processes in which networks are timed at most, before something is decided on what they took
_MOST_PASSES = 8  # for the last word, where these do not agree
_PROTOCOL = Protocol(block=0.06)  # in each of them
_METER = 1.0  # seconds for each network under the counter of energy, where there is one and somebody asks


@dataclass(frozen=True)
class Timing:
    """One network timed on the target, beside the dense one.

    Attributes:
        ms: Its latency.
        dense_ms: The dense network's, in the same session.
        limit_ms: What the budget allows in that session; None if the budget is on something else.
        spread: Of `ms`, as a share.
        stable: Whether the protocol's stopping rule was met for both.
        energy_mj: Measured energy of one call in millijoules; None where the device has no sensor, or nobody asked.
        energy_source: The sensor, or why there is none.
        dense_energy_mj: The dense network's, in the same session.
    """

    ms: float
    dense_ms: float
    limit_ms: float | None
    spread: float
    stable: bool
    energy_mj: float | None = None
    energy_source: str | None = None
    dense_energy_mj: float | None = None

    @classmethod
    def of(cls, measured: Measurement, dense: Measurement, limit_ms: float | None) -> Timing:
        """What a measurement says, beside the dense network's of the same session."""
        told = measured.conditions
        stable = measured.stable and dense.stable
        energy, source = told.get("energy_mj"), told.get("energy_source")
        return cls(
            measured.ms, dense.ms, limit_ms, measured.spread, stable, energy, source, dense.conditions.get("energy_mj")
        )

    @property
    def over(self) -> float:
        """Latency as a share of the limit; 0 without one."""
        return self.ms / self.limit_ms if self.limit_ms else 0.0


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
    missing = list({key: c for c in policies if (key := policy_key(c)) not in problem.timed}.values())
    if missing:
        session = problem.run.once(f"timing session {problem.sessions}", lambda: _session(problem, missing))
        if list(session["timings"]) != [policy_key(c) for c in missing]:
            raise AutopruneError(
                f"{problem.run.path} timed other policies at this point when it was first run;"
                " settings, versions and latency table must be those that it was started with"
            )
        problem.sessions += 1
        problem.timed.update(session["timings"])
        _learn(problem, missing, session)
    return [Timing(**problem.timed[policy_key(c)]) for c in policies]


def least_timed(problem: Problem) -> float | None:
    """The least milliseconds that any policy of this run took; None before the first was timed."""
    return min((timing["ms"] for timing in problem.timed.values()), default=None)


def time_finished(problem: Problem, networks: Sequence[nn.Module]) -> list[Measurement]:
    """Finished networks on the problem's target, with their energy: what is reported, and the last word on a budget."""
    return _timed(problem, networks, _MOST_PASSES, energy=True)


def _timed(problem: Problem, networks: Sequence[nn.Module], most: int, *, energy: bool) -> list[Measurement]:
    """Whole networks to be compared; in several passes where a latency budget hangs on it."""
    passes = (_PASSES, most) if problem.budget.kind == "latency" else (1, 1)
    protocol = replace(_PROTOCOL, meter=_METER) if energy else _PROTOCOL
    example, target = problem.task.timed_example, problem.target
    return measure(networks, example, target, protocol, passes=passes[0], most=passes[1])


def limit_in_session(problem: Problem, dense: Measurement) -> float | None:
    """The budget in milliseconds: a share is a share of the dense network as timed in the same session."""
    return problem.budget.limit(dense.ms) if problem.budget.kind == "latency" else None


def _session(problem: Problem, policies: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """Time whole networks, then those of their layers that were only estimated so far; as JSON values."""
    networks = [problem.task.model, *(problem.small(c) for c in policies)]
    energy = problem.budget.kind == "energy" or problem.experiment.agent == PROGRESSIVE
    dense, *measured = _timed(problem, networks, _PASSES, energy=energy)
    timings = {}
    for choices, m in zip(policies, measured, strict=True):
        timings[policy_key(choices)] = asdict(Timing.of(m, dense, limit_in_session(problem, dense)))
    # What stands in the table: device and versions stand there once.
    taken = [{**m.to_json(), "conditions": m.told()} for m in (dense, *measured)]
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
    problem.reprice(problem.table.cost())
