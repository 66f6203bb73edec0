"""Widths and exits together: priced by the expected latency, searched by any agent, scored with thresholds solved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoprune import agents
from autoprune.cost import AdditiveCost
from autoprune.cost.metrics.expected import PlannedExit, expected_cost, stage_costs, with_exits
from autoprune.dynamic_networks.thresholds import Limits, PathTimes, loss_bound, solved
from autoprune.early_exit.places import Place
from autoprune.envs import PruningEnv, ResourceConstrained, ScoreMemory
from autoprune.errors import BudgetError, InputError
from autoprune.pipeline.jobs.dynamic.joint.candidates import JointScore, some_of, standing_of, widths_of
from autoprune.pipeline.jobs.dynamic.joint.hooks import module_at
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.bare import played
from autoprune.pipeline.search.candidates import scorer_of
from autoprune.run.settings import DynamicSettings

__all__ = ["Found", "planned_exits", "searched"]

_SAMPLES = 2000  # training samples that a candidate's heads are fitted on
_PLANNED_LOSS = 0.02  # at which the shares that pass an exit alone are planned with


@dataclass(frozen=True, eq=False)
class Found:
    """What a search came to.

    Attributes:
        widths: The policy without its exits.
        places: At which exits stand.
        accuracy: Of the candidate within the mean, before it was trained.
        expected_ms: The planned mean.
        episodes: That were played.
    """

    widths: Mapping[str, int]
    places: tuple[Place, ...]
    accuracy: float
    expected_ms: float
    episodes: int


def planned_exits(problem: Problem, places: Sequence[Place], times: PathTimes) -> list[PlannedExit]:
    """Exits as the search plans with them: where they lie in the cost, and what was measured of them.

    Args:
        problem: Of the widths, its dense network trained.
        places: In forward order.
        times: What an exit takes of those who leave, and of those who pass, on the dense network.
    """
    cost = problem.cost
    if not isinstance(cost, AdditiveCost):
        raise InputError("exits are planned with a sum of layers' times; leave other budgets out")
    afters = [_entries_before(cost, module_at(place)) for place in places]
    bare = [
        PlannedExit(f"{place.name}.exit", after, 1.0, 0.0, 0.0) for place, after in zip(places, afters, strict=True)
    ]
    stages = stage_costs(cost, bare)
    scale = times.dense / cost.dense
    until = np.cumsum([stage.dense for stage in stages]) * scale
    found = []
    passes = _passing(problem, places, bare, stages, times)
    for number, each in enumerate(bare):
        leaves = max(0.0, times.leaves[number] - float(until[number])) / scale
        found.append(PlannedExit(each.name, each.after, passes[number], leaves, times.passed[number] / scale))
    return found


def _entries_before(cost: AdditiveCost, module: str) -> int:
    """Entries up to the last one of a module, itself or inside it."""
    inside = [n for n, entry in enumerate(cost.entries) if entry.name == module or entry.name.startswith(f"{module}.")]
    return inside[-1] + 1 if inside else 0


def _passing(
    problem: Problem,
    places: Sequence[Place],
    exits: Sequence[PlannedExit],
    stages: Sequence[AdditiveCost],
    times: PathTimes,
) -> list[float]:
    """The share of inputs that goes on at each exit alone, on the dense network with heads by ridge regression."""
    score = _score_of(problem, places, exits, stages, times.dense, 1)
    answers = score.answers(problem.space.complete({}), range(len(places)))
    unseen = float(loss_bound(0, 0, answers.right.shape[1]))  # what few samples cannot exclude
    limits = Limits(_PLANNED_LOSS + unseen, np.inf)
    found = [solved(answers, "margin", (n,), times.of((n,)), limits) for n in range(len(places))]
    return [1.0 if each is None else each.shares[-1] for each in found]


def _score_of(
    problem: Problem,
    places: Sequence[Place],
    exits: Sequence[PlannedExit],
    stages: Sequence[AdditiveCost],
    mean_ms: float,
    most: int,
) -> JointScore:
    task = problem.task
    train = some_of(task.data.train, _SAMPLES)
    return JointScore(
        scorer_of(problem), places, exits, stages, train, task.search_parts[0], task.reader, mean_ms, most
    )


def searched(
    problem: Problem,
    places: Sequence[Place],
    exits: Sequence[PlannedExit],
    settings: DynamicSettings,
    reporter: Reporter,
) -> Found:
    """Play the episodes, going on where the run stopped.

    Args:
        problem: Of the widths, its dense network trained.
        places: In forward order.
        exits: As planned.
        settings: The mean that is asked for, and the most exits.
        reporter: Shows progress.

    Raises:
        BudgetError: If nothing is planned to keep the mean; the least is named.
    """
    cost = problem.cost
    assert isinstance(cost, AdditiveCost)  # as planned_exits has seen
    space = with_exits(problem.space, cost, exits)
    expected = expected_cost(cost, space, exits)
    limit = settings.limit_ms("mean_latency", expected.dense) or expected.dense
    if (least := expected.least()[0]) > limit:
        raise BudgetError(
            f"a mean of {limit:.4g} ms is out of reach of widths and exits together: the least is {least:.4g} ms,"
            f" {least / expected.dense:.1%} of the dense network's {expected.dense:.4g} ms; raise --mean-latency",
            least,
        )
    score = _score_of(problem, places, exits, stage_costs(cost, exits), limit, settings.exits)
    memory = ScoreMemory(score)
    env = PruningEnv(space, expected, limit, memory, None, ResourceConstrained(), problem.task.scored_as)
    experiment = problem.experiment
    player = agents.get(experiment.agent)(
        env,
        episodes=experiment.episodes,
        warmup=experiment.warmup_episodes,
        seed=experiment.seed,
        **agents.options_of(experiment.agent),
    )
    records = played(player, problem.task.scored_as, problem.run, reporter)
    best = agents.best(records)[0]
    choices = space.complete(best.choices)
    taken = tuple(places[number] for number in standing_of(choices, exits))
    return Found(widths_of(choices, exits), taken, best.value, expected.cost(choices), len(records))
