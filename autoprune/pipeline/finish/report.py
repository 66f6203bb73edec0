"""The content of report.json: the same figures for every network that was compared."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from autoprune.models.sizes import parameter_count
from autoprune.pipeline.finish.fine_tuning import reported_score
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.search.sessions import Timing

__all__ = ["REPORT_SCHEMA", "Entry", "make_report"]

REPORT_SCHEMA = "autoprune.report/1"


@dataclass(frozen=True)
class Entry:
    """One row of the comparison.

    Attributes:
        choices: The policy; None for the dense network.
        networks: The network, once for each fine-tuning seed; the first is the one that is delivered.
        timing: Its latency as measured in the final session.
    """

    choices: Mapping[str, int] | None
    networks: Sequence[nn.Module]
    timing: Timing


def make_report(problem: Problem, entries: Mapping[str, Entry], measured: float, limit: float) -> dict[str, Any]:
    """Everything that came out, as JSON values; scores every network on the test split.

    Args:
        problem: What was searched.
        entries: `dense`, `pruned`, `finetuned`, and baselines by name.
        measured: What the delivered network costs, in the budget's unit, as measured.
        limit: What the budget allows.
    """
    rows = {name: _figures(problem, entry) for name, entry in entries.items()}
    table = problem.table
    return {
        "schema": REPORT_SCHEMA,
        "model": problem.task.name,
        "weights": problem.task.weights_origin,
        "data": problem.task.data.name,
        "decisions": problem.space.units({}),
        "images": dict(problem.task.data.counts),
        "target": problem.target.name,
        "device": problem.target.fingerprint(),
        "seed": problem.experiment.seed,
        "dense": rows.pop("dense"),
        "pruned": rows.pop("pruned"),
        "finetuned": rows.pop("finetuned"),
        "baselines": rows,
        "budget": {
            "kind": problem.budget.kind,
            "requested": problem.budget.requested,
            "limit": limit,
            "measured": measured,
            "met": measured <= limit,
        },
        "latency_table": None if table is None else table.error_figures(),
    }


def _energy(problem: Problem, entry: Entry, choices: Mapping[str, int]) -> dict[str, Any]:
    """Energy of one call: as measured in the final session where there is a sensor, else by the cost model."""
    if entry.timing.energy_mj is not None:
        return {"energy_mj": entry.timing.energy_mj, "energy_label": f"measured ({entry.timing.energy_source})"}
    model = problem.energy
    return {"energy_mj": model.cost(choices), "energy_label": model.label_of_prediction}


def _figures(problem: Problem, entry: Entry) -> dict[str, Any]:
    scores = [reported_score(problem.task, network, problem.task.data.test) for network in entry.networks]
    choices = dict(entry.choices or {})
    predicted = problem.costs["latency"].cost(choices) if "latency" in problem.costs else None
    figures: dict[str, Any] = {
        "accuracy": scores[0],
        "latency_ms": entry.timing.ms,
        "latency_ms_predicted": predicted,
        "latency_spread": entry.timing.spread,
        "latency_stable": entry.timing.stable,
        "flops": int(problem.costs["flops"].cost(choices)),
        "params": parameter_count(entry.networks[0]),
        **_energy(problem, entry, choices),
    }
    if len(scores) > 1:
        figures |= {
            "accuracy_seeds": scores,
            "accuracy_mean": statistics.fmean(scores),
            "accuracy_std": statistics.stdev(scores),
        }
    return figures
