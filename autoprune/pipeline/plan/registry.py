"""Plans by the name of the job that they are of, open to other packages as jobs are."""

from __future__ import annotations

from collections.abc import Callable

from autoprune.errors import InputError
from autoprune.foundations.registry import Registry
from autoprune.pipeline.jobs.base import Job
from autoprune.pipeline.plan.base import Plan
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.experiment import Experiment

__all__ = ["PLANS", "plan_for"]

Planner = Callable[[Task, Experiment, Reporter], Plan]

PLANS: Registry[Planner] = Registry(
    "plan",
    {
        "search": "autoprune.pipeline.plan.job:search_plan",
        "compress": "autoprune.pipeline.plan.job:compress_plan",
        "accuracy-drop": "autoprune.pipeline.plan.job:compress_plan",
        "progressive": "autoprune.pipeline.plan.job:progressive_plan",
        "sparsify": "autoprune.pipeline.plan.sparsify:sparsify_plan",
        "dynamic": "autoprune.pipeline.plan.dynamic:dynamic_plan",
        "codesign": "autoprune.pipeline.plan.codesign:codesign_plan",
        "lottery": "autoprune.pipeline.plan.lottery:lottery_plan",
        "quantize": "autoprune.pipeline.plan.quantize:quantize_plan",
    },
    "autoprune.plans",
)


def plan_for(job: Job, task: Task, experiment: Experiment, reporter: Reporter) -> Plan:
    """What a job would do, once its preflight has passed.

    Raises:
        InputError: If the job has no plan, or finds that it could not be done.
    """
    if job.name not in PLANS:
        raise InputError(f"the job {job.name} has no plan to print; run it without --dry-run")
    return PLANS.get(job.name)(task, experiment, reporter)
