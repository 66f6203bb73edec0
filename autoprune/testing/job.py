"""What every job must do; see `autoprune.pipeline.jobs.base.Job`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from autoprune.pipeline.jobs.base import Job
from autoprune.pipeline.jobs.lifecycle import opened_run
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.experiment import Experiment
from autoprune.space import Policy

__all__ = ["check_job"]


def check_job(job: Job, experiment: Experiment, load: Callable[[], Task]) -> None:
    """A job keeps its contract on one small run, which it may finish twice.

    Args:
        job: The job.
        experiment: Settings of a run of seconds; its folder must not exist yet.
        load: Makes a fresh task of the experiment.

    Raises:
        AssertionError: If it does not; the message names the promise.
    """
    unknown = set(job.settings) - set(Experiment.model_fields)
    assert not unknown, f"{job.name} reads settings that do not exist: {sorted(unknown)}"
    folder = experiment.run_dir
    job.check(experiment)
    assert not folder.exists(), f"{job.name}: check() left {folder}"
    first = _run(job, experiment, load, resume=False)
    stored = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert stored == first.report, f"{job.name}: report.json is not the result's report"
    assert Policy.load(folder / "policy.json") == first.policy, f"{job.name}: policy.json is not the result's policy"
    files = _content(folder, "episodes.jsonl", "steps.jsonl")
    (folder / "report.json").unlink()
    again = _run(job, experiment, load, resume=True)
    assert _content(folder, "episodes.jsonl", "steps.jsonl") == files, f"{job.name}: a resumed run changed its rows"
    assert _without_seconds(again.report) == _without_seconds(first.report), f"{job.name}: resumed, the report differs"
    assert again.policy == first.policy, f"{job.name}: resumed, the policy differs"
    state = zip(first.model.state_dict().values(), again.model.state_dict().values(), strict=True)
    assert all(one.equal(other) for one, other in state), f"{job.name}: resumed, the weights differ"


def _run(job: Job, experiment: Experiment, load: Callable[[], Task], *, resume: bool) -> Any:
    reporter = Reporter()
    before = dict(vars(reporter))
    with opened_run(experiment, resume=resume) as run:
        result = job.run(load(), run, reporter)
    assert vars(reporter) == before, f"{job.name} changed the caller's reporter"
    return result


def _content(folder: Any, *names: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def _without_seconds(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key != "seconds"}
