"""What policies are predicted to cost before the search: energy, modelled or fitted on a sensor; the search limit."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoprune.cost import AdditiveCost
from autoprune.cost.energy import Coefficients, EnergyCost, energy_cost, fit_energy
from autoprune.graph import Analysis, cut
from autoprune.hardware import Protocol, Target, measure
from autoprune.hardware.tables.profile import other_policies, spread_policies
from autoprune.pipeline.reporter import Talk
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.space import SearchSpace
from autoprune.space.budget import Budget

__all__ = ["METERED_MARGIN", "energy_model", "energy_of", "search_limit"]

_PROTOCOL = Protocol(meter=1.0)
_FIT, _HELD_OUT = 10, 4  # networks whose energy is measured, the dense one among the first

METERED_MARGIN = 0.98
"""Share of a limit on measured energy that may be planned with: predictions miss by a few percent."""


def energy_model(
    task: Task, run: RunDir, target: Target, analysis: Analysis, space: SearchSpace, talk: Talk, *, measured: bool
) -> EnergyCost:
    """What policies cost in millijoules.

    Args:
        task: The network and its example.
        run: Keeps what was measured, so that a resumed run reads it back.
        target: Where; its own counter of energy is read while it times.
        analysis: The model's operators.
        space: The decisions.
        talk: Who watches.
        measured: Whether to time networks for it; else, and where there is no sensor, it is modelled and labelled so.
    """
    start = Coefficients.modelled(target.precision)
    runs: dict[str, Any] = {"source": "", "runs": [], "held_out": []}
    if measured:
        key = f"energy of {len(space)} decisions with {sum(len(d.options) for d in space.decisions)} options"
        runs = run.once(key, lambda: _measured(task, target, analysis, space, run.experiment.seed, talk))
        if not runs["runs"]:
            talk.say(f"energy is modelled, not measured: {runs['source']}")
    if not runs["runs"]:
        return energy_cost(analysis, space, start, batch=task.target_batch)
    pairs = [(each["choices"], each["mj"]) for each in runs["runs"]]
    cost = fit_energy(analysis, space, pairs, runs["source"], coefficients=start, batch=task.target_batch)
    off = [abs(cost.cost(each["choices"]) / each["mj"] - 1) for each in runs["held_out"]]
    talk.say(
        f"energy is measured by {runs['source']}: fitted on {len(pairs)} networks, error on {len(off)} others"
        f" {np.mean(off):.1%} (worst {max(off):.1%})"
    )
    return cost


def _measured(
    task: Task, target: Target, analysis: Analysis, space: SearchSpace, seed: int, talk: Talk
) -> dict[str, Any]:
    """Energy of random networks in one interleaved session, as JSON values; no runs, and why, without a sensor."""
    with talk.stage("profile", f"measuring energy on {target.name}") as progress:
        (dense,) = measure([task.model], task.timed_example, target, _PROTOCOL)
        if dense.conditions.get("energy_mj") is None:
            why = dense.conditions.get("energy_source") or f"{target.name} says nothing about energy"
            return {"source": str(why), "runs": [], "held_out": []}
        draw = np.random.default_rng((seed, 2))
        fitted = [dict(space.dense), *spread_policies(space, _FIT - 1, draw)]
        policies = [*fitted, *other_policies(space, _HELD_OUT, draw, fitted)]
        kept = [{name: range(n) for name, n in space.units(choices).items()} for choices in policies]
        networks = [cut(task.model, analysis, each) for each in kept]
        results = measure(
            networks,
            task.timed_example,
            target,
            _PROTOCOL,
            progress=lambda done, total: progress(done, total, "networks"),
        )
    runs = [
        {"choices": choices, "mj": result.conditions["energy_mj"]}
        for choices, result in zip(policies, results, strict=True)
    ]
    if any(each["mj"] is None for each in runs):
        return {"source": "the sensor failed while it was read", "runs": [], "held_out": []}
    return {"source": str(dense.conditions["energy_source"]), "runs": runs[:_FIT], "held_out": runs[_FIT:]}


def search_limit(budget: Budget, cost: AdditiveCost) -> float:
    """What a policy may be predicted to cost, in the budget's unit."""
    limit = budget.limit(cost.dense)
    metered = isinstance(cost, EnergyCost) and cost.measured
    return limit * METERED_MARGIN if metered else limit


def energy_of(analysis: Analysis, coefficients: Coefficients, batch: int) -> float:
    """Modelled millijoules of one call of a network that was analysed as it is."""
    return energy_cost(analysis, SearchSpace(()), coefficients, batch=batch).dense
