"""One job from Python, from what was handed over to its result or its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autoprune.errors import Stopped
from autoprune.pipeline.calls import Call
from autoprune.pipeline.finish.so_far import best_so_far
from autoprune.pipeline.from_python import opened_job, planned_job, without_folder
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.lifecycle import finished_result
from autoprune.pipeline.plan.base import Plan
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment

__all__ = ["run_job", "whole_job"]


def whole_job(
    call: Call,
    settings: Mapping[str, Any],
    run: str | Path | None,
    job_of: Callable[[Experiment], Job],
    *,
    dry_run: bool = False,
) -> Result | Plan:
    """A job from its settings to its result, or its plan; the result of a finished run is read back.

    Args:
        call: What was handed over.
        settings: All that is said or decided, by name.
        run: Folder that keeps the run; the settings' or a temporary one if None.
        job_of: What to do, which may depend on the settings.
        dry_run: Try everything once and give back the plan; nothing is written.
    """

    def check(experiment: Experiment) -> None:
        job_of(experiment).check(experiment)

    if dry_run:
        return planned_job(call.handed, settings, run, job_of, call.shown)
    with opened_job(call.handed, settings, run, call.flags, check, call.shown) as (opened, task):
        done = finished_result(opened, task.model)
        result = done or run_job(job_of(opened.experiment), task, opened, call.watched(opened.experiment))
    return result if run or settings.get("run") else without_folder(result)


def run_job(job: Job, task: Task, run: RunDir, reporter: Reporter) -> Result:
    """The job's result; the best so far where a time limit or a callback ends it."""
    try:
        return job.run(task, run, reporter)
    except Stopped as stop:
        found = best_so_far(run, task)
        if found is None:
            raise Stopped(f"{stop} before there was a network; resume=True goes on") from None
        reporter.say(f"{stop}; this is the best so far, and nothing of it is verified")
        return found
