"""Jobs by name; imported when they are asked for, and open to other packages."""

from __future__ import annotations

from autoprune.foundations.registry import Registry
from autoprune.pipeline.jobs.base import Job
from autoprune.run.experiment import Experiment

__all__ = ["JOBS", "compressing", "job_named"]

JOBS: Registry[type[Job]] = Registry(
    "job",
    {
        "search": "autoprune.pipeline.jobs.search:SearchJob",
        "compress": "autoprune.pipeline.jobs.compress:CompressJob",
        "accuracy-drop": "autoprune.pipeline.jobs.accuracy_drop:AccuracyDropJob",
        "progressive": "autoprune.pipeline.jobs.progressive.job:ProgressiveJob",
        "sparsify": "autoprune.pipeline.jobs.sparsify.job:SparsifyJob",
        "dynamic": "autoprune.pipeline.jobs.dynamic.job:DynamicJob",
        "codesign": "autoprune.pipeline.jobs.codesign.job:CodesignJob",
        "lottery": "autoprune.pipeline.jobs.lottery.job:LotteryJob",
        "quantize": "autoprune.pipeline.jobs.quantize.job:QuantizeJob",
    },
    "autoprune.jobs",
)


def job_named(name: str) -> Job:
    """A job by its name.

    Raises:
        InputError: If there is none of that name.
    """
    return JOBS.get(name)()


def compressing(experiment: Experiment) -> Job:
    """The job of `autoprune compress`: to a budget, or as far as a loss of accuracy allows."""
    return job_named("compress" if experiment.accuracy_drop is None else "accuracy-drop")
