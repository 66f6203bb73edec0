"""Sensitivity analysis: what the score loses, and what the device saves, if each decision alone is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autoprune.cost.importance import ImportanceWeights, hardware_importance
from autoprune.criteria.registry import criterion_of
from autoprune.errors import InputError
from autoprune.foundations.files import write_json
from autoprune.pipeline.jobs.lifecycle import check_target
from autoprune.pipeline.jobs.search import prepare, timed
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.candidates import scorer_of
from autoprune.pipeline.search.single_cuts import SingleCuts, score_single_cuts
from autoprune.pipeline.task import Task
from autoprune.reconstruction.registry import CANDIDATE_WEIGHTS
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import Decision
from autoprune.techniques.registry import techniques_of

__all__ = ["POINTS", "SensitivitySettings", "check_sensitivity", "sensitivity_job"]

POINTS = 4
"""Options of each decision that are tried, if nothing else is said."""


@dataclass(frozen=True)
class SensitivitySettings:
    """How a sensitivity analysis is made.

    Attributes:
        points: Options of each decision that are scored, beside the whole one.
        weights: What counts how much in the importance.

    Raises:
        InputError: If there is no point.
    """

    points: int = POINTS
    weights: ImportanceWeights = field(default_factory=ImportanceWeights)

    def __post_init__(self) -> None:
        if self.points < 1:
            raise InputError(f"points must be 1 or more, not {self.points}")


def check_sensitivity(experiment: Experiment) -> None:
    """Refuse, before anything is written, what is wrong in the settings alone.

    Raises:
        InputError: If a setting cannot be what is meant.
        TargetError: If the target is not available on this machine.
    """
    criterion_of(experiment.criterion)
    CANDIDATE_WEIGHTS.get(experiment.candidate_weights)
    techniques_of(experiment.technique_names)
    check_target(experiment)


def sensitivity_job(
    task: Task, run: RunDir, reporter: Reporter, settings: SensitivitySettings | None = None
) -> dict[str, Any]:
    """Score every decision cut alone, price its steps; leaves sensitivity.json, whose content it returns.

    It goes on where the run stopped: every score is on disk before the next is taken.

    Args:
        task: The network, its data, its score.
        run: The run's folder, opened.
        reporter: Shows progress and sentences.
        settings: How many options are tried, and what counts in the importance.
    """
    wanted = SensitivitySettings() if settings is None else settings
    reporter = timed(run, reporter)
    problem = prepare(task, run, reporter)
    with reporter.stage("search", "reading the search split"):
        score = scorer_of(problem)
    cuts = score_single_cuts(problem, score, wanted.points, reporter)
    content = _content(problem, cuts, wanted.weights)
    write_json(run.file("sensitivity.json"), content)
    return content


def _content(problem: Problem, cuts: SingleCuts, weights: ImportanceWeights) -> dict[str, Any]:
    """What sensitivity.json holds."""
    spec, cost = problem.task.scored_as, problem.price_of(problem.budget)
    rows = _rows(problem, cuts)
    importance = hardware_importance(
        [row["step"]["loss_per_unit"] for row in rows],
        [row["step"]["saved_per_unit"] for row in rows],
        [row["step"]["energy_saved_per_unit"] for row in rows],
        weights,
    )
    for row, value in zip(rows, importance.tolist(), strict=True):
        row["importance"] = value if np.isfinite(value) else None
    return {
        "schema": "autoprune.sensitivity/1",
        "model": problem.task.name,
        "target": problem.target.label,
        "score": {"name": spec.name, "direction": spec.direction, "format": spec.format},
        "cost": {"kind": cost.kind, "unit": cost.unit, "dense": cost.dense},
        "energy": {"unit": problem.energy.unit, "dense": problem.energy.dense},
        "dense": cuts.dense,
        "weights": {"alpha": weights.alpha, "beta": weights.beta, "gamma": weights.gamma},
        "decisions": rows,
    }


def _rows(problem: Problem, cuts: SingleCuts) -> list[dict[str, Any]]:
    """A row for every decision, in forward order."""
    curves = cuts.curves(problem.space, problem.task.scored_as)
    steps = {
        kind: cost.marginal({})
        for kind, cost in (("cost", problem.price_of(problem.budget)), ("energy", problem.energy))
    }
    rows = []
    for decision, losses in zip(problem.space.decisions, curves.losses, strict=True):
        down = {kind: marginal[decision.name].down for kind, marginal in steps.items()}
        points = [_point(problem, decision, kept, score) for kept, score in sorted(cuts.points[decision.name].items())]
        rows.append(
            {
                "name": decision.name,
                "kind": decision.kind,
                "width": decision.width,
                "points": points,
                "step": _step(decision, losses.tolist(), down),
            }
        )
    return rows


def _point(problem: Problem, decision: Decision, kept: int, score: float) -> dict[str, Any]:
    return {"kept": kept, "score": score, "cost": problem.price_of(problem.budget).cost({decision.name: kept})}


def _step(decision: Decision, losses: Sequence[float], down: Mapping[str, float | None]) -> dict[str, Any]:
    """One option less than whole, all others whole: what a unit loses and saves; a decision of one option has none."""
    if len(decision.options) < 2:
        return {"kept": None, "loss_per_unit": 0.0, "saved_per_unit": 0.0, "energy_saved_per_unit": 0.0}
    kept = decision.options[-2]
    units = decision.width - kept
    return {
        "kept": kept,
        "loss_per_unit": losses[-2] / units,
        "saved_per_unit": -(down["cost"] or 0.0) / units,
        "energy_saved_per_unit": -(down["energy"] or 0.0) / units,
    }
