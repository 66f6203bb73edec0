"""The search: from a network to the policy that scores best within the budget, before any fine-tuning."""

from __future__ import annotations

from dataclasses import replace

from autoprune import agents
from autoprune.agents import EpisodeRecord
from autoprune.errors import Stopped
from autoprune.pipeline.building import build_problem
from autoprune.pipeline.finish.all_widths import train_all_widths
from autoprune.pipeline.finish.fine_tuning import train_dense
from autoprune.pipeline.finish.requirements import require_recipe
from autoprune.pipeline.finish.slimming import slimmed
from autoprune.pipeline.finish.so_far import keep_cut
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.lifecycle import check_settings
from autoprune.pipeline.jobs.ordered import ordered
from autoprune.pipeline.jobs.settings import OF_SEARCH
from autoprune.pipeline.problem import CAME_TRAINED, Problem
from autoprune.pipeline.reporter import Reporter, TimedReporter
from autoprune.pipeline.search.front import keep_front
from autoprune.pipeline.search.play import Search, play, start_search, within
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.run.stopwatch import Stopwatch
from autoprune.space import Policy
from autoprune.techniques.apply import in_order

__all__ = ["SearchJob", "fitted", "prepare", "search", "timed"]


class SearchJob(Job):
    """Prepare and search; leaves policy.json. `Result.model` is the raw cut."""

    name = "search"
    settings = OF_SEARCH

    def check(self, experiment: Experiment) -> None:
        """Agent, budget and target must be there."""
        check_settings(experiment)

    def run(self, task: Task, run: RunDir, reporter: Reporter) -> Result:
        """Search, and give back the best policy's raw cut."""
        found = search(task, run, timed(run, reporter))
        policy = Policy.load(run.file("policy.json"))
        leader = agents.best(found.within)[0]
        return Result(found.problem.small(leader.choices).eval(), policy, {}, run.path)


def timed(run: RunDir, reporter: Reporter) -> Reporter:
    """The same reporter, whose stages count as the run's."""
    return TimedReporter(reporter, Stopwatch(run))


def prepare(task: Task, run: RunDir, reporter: Reporter, *, metered: bool = False) -> Problem:
    """Profile, refuse what cannot be, train the dense network if it has no weights, rank its units.

    Args:
        task: The network, its data, its score.
        run: Its folder.
        reporter: Shows progress and sentences.
        metered: Whether every session reads the device's counter of energy, whatever the budget is on.

    Raises:
        BudgetError: If nothing meets the budget.
        InputError: If the recipe cannot serve this task.
    """
    require_recipe(task, run.experiment)
    for notice in run.notices:
        reporter.say(notice)
    problem = build_problem(task, run, reporter)
    run.mark_started()
    if problem.target.precision == "int8":
        reporter.say("latencies are of integers, scores of float32; `autoprune quantize` makes and scores the file")
    reporter.say(str(problem.recipe))
    run.describe("recipe", problem.recipe.to_json())
    return replace(fitted(problem, reporter), metered=metered)


def fitted(problem: Problem, reporter: Reporter) -> Problem:
    """The same problem with its dense network trained, its units ranked, its candidates' weights ready.

    Args:
        problem: Its network analysed; whether its policies are priced is of no effect.
        reporter: Shows progress and sentences.
    """
    task, run = problem.task, problem.run
    came_trained: bool = run.once(CAME_TRAINED, lambda: task.trained)
    train_dense(problem, reporter)
    by = slimmed(problem, reporter) if run.experiment.slim and came_trained else None
    if came_trained or run.experiment.sparse_recipe != "sr-ste":  # which then starts from weights without a meaning
        problem = ordered(problem, reporter)
        by = None if by is None else in_order(by, problem.analysis, problem.orders)
    return problem.ranked(lambda ranked: train_all_widths(ranked, reporter), by)


def search(task: Task, run: RunDir, reporter: Reporter) -> Search:
    """Prepare and search; leaves policy.json, and front.json where a whole front was searched.

    Raises:
        BudgetError: If nothing meets the budget.
        Stopped: If a time limit or a callback ends it; the best policy so far is kept.
    """
    problem = prepare(task, run, reporter)
    found = start_search(problem, reporter)
    before = len(run.episodes())
    try:
        play(found, reporter)
    except Stopped:
        if records := [EpisodeRecord.from_row(row) for row in run.episodes()]:
            keep_cut(problem, agents.best(within(records, found.agent.env.limit))[0].choices)
        raise
    leader = agents.best(found.within)[0]
    if before < len(found.records) or not run.file("policy.json").exists():  # else the finished job's stands there
        problem.policy(leader.choices, run.experiment.agent).save(run.file("policy.json"))
    if run.experiment.front:
        keep_front(found)
    return found
