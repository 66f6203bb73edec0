"""The report of a finished job: the same figures for every network that was compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from autoprune.cost.budget import Budget
from autoprune.cost.metrics import Timing, Verdict
from autoprune.models.sizes import parameter_count
from autoprune.pipeline.finish.fine_tuning import reported_score
from autoprune.pipeline.problem import Problem
from autoprune.run.report import REPORT_SCHEMA, Figures, Outcome, Report

__all__ = ["Compared", "Verdicts", "make_report"]


@dataclass(frozen=True)
class Verdicts:
    """What a network costs by each budget, and whether it meets all of them.

    Attributes:
        of: Every budget with its verdict, in the order in which they were asked for; at least one.
    """

    of: tuple[tuple[Budget, Verdict], ...]

    @property
    def met(self) -> bool:
        """Whether every budget is met."""
        return all(verdict.met for _, verdict in self.of)

    @property
    def worst(self) -> tuple[Budget, Verdict]:
        """The budget that the network takes most of."""
        return max(self.of, key=lambda pair: pair[1].over)

    @property
    def over(self) -> float:
        """What the network takes of that budget, as a share of what is allowed."""
        return self.worst[1].over

    @property
    def missed(self) -> dict[str, float]:
        """Budgets that are not met: name -> what is taken, as a share of what is allowed."""
        return {budget.name: verdict.over for budget, verdict in self.of if not verdict.met}


@dataclass(frozen=True)
class Compared:
    """One row of the comparison.

    Attributes:
        choices: The policy; None for the dense network.
        networks: The network, once for each fine-tuning seed; the first is the one that is delivered.
        timing: Its latency as measured in the final session.
        handed_over: What is scored in place of `networks`: the files of those with integers.
    """

    choices: Mapping[str, int] | None
    networks: Sequence[nn.Module]
    timing: Timing
    handed_over: Sequence[nn.Module] = ()


def make_report(problem: Problem, rows: Mapping[str, Compared], verdicts: Verdicts) -> Report:
    """Everything that came out; scores every network on the test split.

    Args:
        problem: What was searched.
        rows: `dense`, `pruned`, `finetuned`, and baselines by name.
        verdicts: The delivered network held against every budget.
    """
    figures = {name: _figures(problem, row) for name, row in rows.items()}
    task, table = problem.task, problem.table
    outcomes = [_outcome(problem, *each) for each in verdicts.of]
    report = Report(
        schema=REPORT_SCHEMA,
        model=task.name,
        weights=task.weights_origin,
        data=task.data.name,
        decisions=problem.space.policy({}).choices,
        images=dict(task.data.counts),
        target=problem.target.label,
        device=problem.target.fingerprint(),
        seed=problem.experiment.seed,
        recipe=problem.recipe.to_json(),
        dense=figures.pop("dense"),
        pruned=figures.pop("pruned"),
        finetuned=figures.pop("finetuned"),
        baselines=figures,
        budget=outcomes[0],
        latency_table=None if table is None else table.error_figures(),
    )
    several = {"budgets": outcomes} if len(outcomes) > 1 else {}
    return report.model_copy(update={**task.scored_as.fields, **several})


def _outcome(problem: Problem, budget: Budget, verdict: Verdict) -> Outcome:
    """One budget and what came of it."""
    several = len(problem.budgets) > 1
    outcome = Outcome(
        kind=budget.kind,
        requested=budget.requested,
        limit=verdict.limit,
        measured=verdict.measured,
        met=verdict.met,
        predicted_limit=None if several else problem.run.recall("first search limit"),
    )
    return outcome.model_copy(update={"target": budget.target} if budget.target else {})


def _figures(problem: Problem, row: Compared) -> Figures:
    judged = row.handed_over or row.networks
    scores = [reported_score(problem.task, network, problem.task.data.test) for network in judged]
    choices, costs = dict(row.choices or {}), problem.state.costs
    energy, label = _energy(problem, row.timing, choices)
    return Figures.of_scores(
        problem.task.scored_as,
        scores,
        latency_ms=row.timing.ms,
        latency_ms_predicted=costs["latency"].cost(choices) if "latency" in costs else None,
        latency_spread=row.timing.spread,
        latency_stable=row.timing.stable,
        flops=int(costs["flops"].cost(choices)),
        params=parameter_count(row.networks[0]),
        energy_mj=energy,
        energy_label=label,
    )


def _energy(problem: Problem, timing: Timing, choices: Mapping[str, int]) -> tuple[float, str]:
    """Energy of one call and its label: measured in the final session where there is a sensor, else modelled."""
    if timing.energy_mj is not None:
        source = str(timing.energy_source)
        return timing.energy_mj, source if source.startswith("simulated") else f"measured ({source})"
    return problem.energy.cost(choices), problem.energy.label_of_prediction
