"""A run from its settings to its report: what the commands that finish a network share, whoever does the job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.cli.options import resolve
from autoprune.cli.stopping import resumable
from autoprune.run.experiment import Experiment
from autoprune.run.flags import Flags
from autoprune.run.sweep import Part, parts_of

if TYPE_CHECKING:
    from autoprune.pipeline.jobs.base import Job
    from autoprune.pipeline.reporter import Reporter
    from autoprune.pipeline.task import Task

__all__ = ["again", "checked_parts", "given_or_stored", "runs_of_job", "show_plan", "whole_runs"]

Check = Callable[[Experiment], None]


def whole_runs(experiment: Experiment, flags: Flags, job_of: Callable[[Experiment], Job]) -> None:
    """Every run of a command from its settings to its report; an interruption says how to go on.

    Args:
        experiment: The settings, of several agents or budgets perhaps.
        flags: How the runs' folders are treated.
        job_of: What finishes a network, which may depend on the settings of a run.
    """
    with checked_parts(experiment, flags, lambda each: job_of(each).check(each)) as parts:
        from autoprune.cli.screen import Screen
        from autoprune.pipeline.watching import watched

        screen = watched(Screen(), experiment)
        for part in parts:
            with resumable(part.experiment.run_dir, again(flags)):
                _one(part, flags, job_of(part.experiment), screen)


def runs_of_job(name: str, experiment: Experiment, flags: Flags) -> None:
    """As `whole_runs`, of the job that is registered under a name."""

    def job_of(_: Experiment) -> Job:
        from autoprune.pipeline.jobs.registry import job_named

        return job_named(name)

    whole_runs(experiment, flags, job_of)


def given_or_stored(
    experiment_file: Path | None,
    asked: Mapping[str, Any],
    completed: Callable[[Mapping[str, Any]], dict[str, Any]],
    *,
    resume: bool,
    decided: tuple[str, ...],
) -> Experiment:
    """The settings of a job that decides some of them itself, from the command alone or over those of a file or run.

    Args:
        experiment_file: A file of settings, if one is given.
        asked: Settings of the command.
        completed: Adds what the job decides.
        resume: Whether a run goes on with the settings that it has stored.
        decided: Names of what the job decides, which stored settings have already.
    """
    if experiment_file is None and not resume:
        return Experiment.build(completed(asked))
    where = {name: value for name, value in asked.items() if name in ("run", "model", "data")}
    stored = resolve(experiment_file, where, resume=resume)
    own = stored.model_dump(exclude_unset=True, exclude=set(decided))
    return Experiment.build(completed(own | dict(asked)))


def again(flags: Flags) -> str:
    """How a user goes on with a run that was interrupted."""
    return f"the same command with --resume{' in place of --overwrite' if flags.overwrite else ''}"


@contextmanager
def checked_parts(experiment: Experiment, flags: Flags, check: Check) -> Iterator[list[Part]]:
    """The runs of a command, all of which were checked before the first of them starts to take hours."""

    def watched(each: Experiment) -> None:
        with resumable(each.run_dir, again(flags)):
            check(each)

    with parts_of(experiment, flags, watched) as parts:
        yield parts


def show_plan(job: Job, task: Task, experiment: Experiment, screen: Reporter, flags: Flags) -> None:
    """Print what a job would do."""
    import typer

    from autoprune.pipeline.plan.registry import plan_for

    plan = plan_for(job, task, experiment, screen)
    more = ("model.onnx",) if flags.onnx and "model.onnx" not in plan.written else ()
    typer.echo(replace(plan, written=(*plan.written, *more)))


def _one(part: Part, flags: Flags, job: Job, screen: Reporter) -> None:
    from autoprune.cli.screen import print_result
    from autoprune.foundations.threads import use_threads
    from autoprune.pipeline.jobs.lifecycle import finished_result, is_finished, run_of_part
    from autoprune.pipeline.load import export_run
    from autoprune.pipeline.preflight.checks import preflight
    from autoprune.pipeline.task import load_task
    from autoprune.reports import write_html

    experiment = part.experiment
    with use_threads(experiment.train_threads):
        with screen.stage("load", "loading the network and its data"):
            task = load_task(experiment)
        if not is_finished(experiment, flags):
            preflight(task, experiment, screen, ("onnx",) if flags.onnx else ())
        if flags.dry_run:
            show_plan(job, task, experiment, screen, flags)
            return
        with run_of_part(part, flags) as run:
            result = finished_result(run)
            if result is None:
                result = job.run(task, run, screen)
            else:
                screen.say(f"{run.path} is finished; nothing is left to do")
            if not run.file("report.html").exists():
                write_html(run.path)
            if flags.onnx:
                with screen.stage("export", "writing model.onnx"):
                    export_run(run.path, "onnx", run.file("model.onnx"))
    print_result(result)
