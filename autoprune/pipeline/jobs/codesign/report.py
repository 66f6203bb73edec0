"""The report of a network and its accelerator: the front beside its baselines, and where cycles and energy go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from autoprune.cost.chips import OBJECTIVES
from autoprune.hardware.accelerators import Accelerator, Cost
from autoprune.models.sizes import parameter_count, zero_count
from autoprune.pipeline.finish.fine_tuning import reported_score
from autoprune.pipeline.jobs.codesign.finalists import simulated_point
from autoprune.pipeline.jobs.codesign.layers import works_under
from autoprune.pipeline.jobs.codesign.points import Candidate, cheapest, hypervolume, thinned
from autoprune.pipeline.jobs.codesign.searching import rows_of
from autoprune.pipeline.jobs.codesign.simulation import Finished, simulated
from autoprune.pipeline.jobs.codesign.study import BASELINES, Study
from autoprune.reports.codesign import CODESIGN_SCHEMA
from autoprune.run.stopwatch import rounded_seconds

__all__ = ["FRONT_SCHEMA", "codesign_report"]

FRONT_SCHEMA = "autoprune.codesign-front/1"

_MOST_POINTS = 6  # of a front, the one that would be chosen aside: each is scored on the test split


def codesign_report(study: Study, finished: Finished) -> dict[str, Any]:
    """The content of `report.json`; scores the networks of all points on the test split."""
    run, point = study.run, finished.point
    arm = point.candidate.arm
    task = arm.problem.task
    chip = arm.designs[point.chip].chip
    dense = study.uniform(study.arms[0])[-1]
    allowed, fronts = study.allowed_merit(), {name: study.points(name) for name in BASELINES}
    front = thinned(study.front(), _MOST_POINTS, [point])
    baselines = {name: thinned(found, _MOST_POINTS, [cheapest(found, allowed)]) for name, found in fronts.items()}
    after = simulated(study, finished, chip)
    sizes = {name: run.file(f"{name}.safetensors").stat().st_size for name in ("dense", "pruned", "finetuned")}
    chosen, own = point.row(), simulated_point(study, point).row()
    figures = {"accuracy": chosen["accuracy"], **({"score": chosen["score"]} if "score" in chosen else {})}
    content: dict[str, Any] = {
        "schema": CODESIGN_SCHEMA,
        "model": task.name,
        "weights": task.weights_origin,
        "data": task.data.name,
        **task.scored_as.fields,
        "images": dict(task.data.counts),
        "target": chip.label,
        "agent": run.experiment.agent,
        "seed": run.experiment.seed,
        "objective": study.objective,
        "unit": study.on_any_chip(arm).cost.unit,
        "area_limit_mm2": study.area,
        "limit": _limit(study, chip, after.total),
        "accuracy_drop": run.experiment.accuracy_drop,
        "fixed_chip": study.arms[0].designs[study.fixed].name,
        "dense": _dense(study, dense) | _counts(task.model, sizes["dense"]),
        "pruned": figures | _on_chip(own) | _counts(arm.problem.small(point.candidate.choices), sizes["pruned"]),
        "finetuned": _score(study, finished.network)
        | _costs(chip, after.total)
        | {"area_mm2": point.area}
        | _counts(finished.network, sizes["finetuned"]),
        "fine_tuning": [each.model_dump() for each in finished.trainings],
        "chosen": chosen | {"accelerator": chip.content(), "lanes": chip.lanes},
        "front": [each.row() for each in front],
        "baselines": {name: [each.row() for each in points] for name, points in baselines.items()},
        "hypervolumes": _hypervolumes(study, dense),
        "evaluations": _evaluations(study),
        "chips": {each.family: len(each.designs) for each in study.arms},
        "table_error": after.error,
        "layers": after.layers,
        "queues": after.queues,
        "free": [
            {"name": each.name, "operator": each.operator, "reason": each.reason} for each in finished.workload.free
        ],
        "kept_dense": {each.family: dict(each.problem.space.frozen) for each in study.arms},
        "sample": {"vectors": run.experiment.vectors, "source": finished.workload.works[0].source},
    }
    return content | {"seconds": dict(rounded_seconds(run))}


def _limit(study: Study, chip: Accelerator, cost: Cost) -> dict[str, Any] | None:
    """What `--at-most` comes to, and whether the fine-tuned network keeps it; the search priced other activations."""
    if not np.isfinite(study.limit):
        return None
    costs = _costs(chip, cost)
    taken = OBJECTIVES[study.objective].of(np.array(costs["latency_ms"]), np.array(costs["energy_mj"]))
    return {"value": study.limit, "finetuned": float(taken), "met": bool(taken <= study.limit)}


def _evaluations(study: Study) -> dict[str, int]:
    """Episodes of each search, and policies that were scored in all."""
    names = ("ratios", "joint", "random")
    parts = [name for name, _ in rows_of(study.run)]
    found = {each: sum(f": {each} " in name for name in parts) for each in names}
    return {**found, "scored": sum(len(study.candidates(arm, *names)) for arm in study.arms)}


def _score(study: Study, network: nn.Module) -> dict[str, Any]:
    task = study.arms[0].problem.task
    score = study.run.once("test finetuned", lambda: reported_score(task, network, task.data.test))
    return {"accuracy": score} if task.scored_as.is_accuracy else {"accuracy": None, "score": score}


def _counts(network: nn.Module, size: int) -> dict[str, Any]:
    return {"params": parameter_count(network), "zeros": zero_count(network), "bytes": size}


def _costs(chip: Accelerator, cost: Cost) -> dict[str, Any]:
    ms = chip.ms(cost)
    return {"cycles": cost.cycles, "latency_ms": ms, "energy_mj": cost.energy_mj, "edp_mj_ms": ms * cost.energy_mj}


def _on_chip(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("cycles", "latency_ms", "energy_mj", "edp_mj_ms", "area_mm2")}


def _dense(study: Study, dense: Candidate) -> dict[str, Any]:
    """The dense network on the fixed chip, whether its weights fit there or not."""
    arm = study.arms[0]
    chip = arm.designs[study.fixed].chip
    cost = arm.simulated(study.fixed, dense.choices)
    task = arm.problem.task
    score = study.run.once("test dense", lambda: reported_score(task, task.model, task.data.test))
    named = {"accuracy": score} if task.scored_as.is_accuracy else {"accuracy": None, "score": score}
    fits = chip.capacity_ok(works_under(arm.layers, arm.problem.space, dense.choices))
    return {**named, "search_score": dense.score, **_costs(chip, cost), "area_mm2": chip.area_mm2, "fits": fits}


def _hypervolumes(study: Study, dense: Candidate) -> dict[str, float]:
    """Of each baseline and of the joint search: ln(dense / objective) times score, above five points below dense."""
    arm = study.arms[0]
    sums = arm.tables.only([study.fixed]).sums(arm.problem.space.indices({})[None])
    value = float(study.on_fixed_chip().cost.objective.of(sums.ms, sums.mj)[0, 0])
    worst = dense.merit - (0.05 if arm.problem.task.scored_as.is_accuracy else abs(dense.merit))
    found = {name: hypervolume(study.points(name), worst, value) for name in BASELINES}
    return found | {"joint": hypervolume(study.front(), worst, value)}
