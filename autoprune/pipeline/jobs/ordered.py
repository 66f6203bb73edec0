"""The dense network with its units in another order, where a run asks for one: N:M groups then keep more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autoprune.pipeline.problem import PERMUTATION, Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.techniques.apply import in_order
from autoprune.techniques.sparsity.permutation import permutation, wished

__all__ = ["ordered"]


def ordered(problem: Problem, reporter: Reporter) -> Problem:
    """The same problem on the reordered dense network, which computes the same; as it is where no order is wanted.

    The run's `dense.safetensors` stay in the order in which they came: policies name the orders.

    Args:
        problem: Its dense network trained, its techniques not yet fitted.
        reporter: Shows progress.

    Raises:
        InputError: If the criterion ranks weights below zero.
    """
    technique, task = wished(problem.stack.techniques), problem.task
    if technique is None:
        return problem
    pieces = (technique, task.model, problem.analysis, problem.space, problem.calibration, task.example)
    with reporter.stage("calibrate", f"searching an order of units, for {technique.settings.permute:g} s at most"):
        found: dict[str, Any] = problem.run.once(PERMUTATION, lambda: permutation(*pieces))
    reporter.say(
        f"in the new order of {len(found['orders'])} groups {found['pattern']} keeps {found['gain']:.2%} more of"
        f" {found['criterion']}" + ("" if found["complete"] else "; more time might find more")
    )
    network = in_order(task.model, problem.analysis, found["orders"])
    return replace(problem, task=replace(task, model=network), orders=found["orders"])
