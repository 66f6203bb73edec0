"""Profiling alone: a latency table for a model on a target, in a file of the user's."""

from __future__ import annotations

from pathlib import Path

from autoprune.errors import InputError
from autoprune.graph import analyse
from autoprune.hardware import DeviceTable, LatencyTable, Target
from autoprune.hardware.grid.probing import probe
from autoprune.hardware.tables.device_table import check_fingerprint
from autoprune.pipeline import allowance
from autoprune.pipeline.building import space_for
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.lifecycle import check_techniques
from autoprune.pipeline.preflight.checks import OF_PROFILE, preflight
from autoprune.pipeline.pricing import profiled
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import load_task
from autoprune.run.experiment import Experiment

__all__ = ["profile_job", "unfinished"]


def unfinished(out: Path) -> Path:
    """The file beside a latency table's in which an interrupted profile leaves what it has measured."""
    return out.with_name(f"{out.name}.part")


def profile_job(experiment: Experiment, out: Path, reporter: Reporter) -> LatencyTable:
    """Profile a model, going on where an interrupted profile stopped; the table is written to `out`.

    Args:
        experiment: Model, data, target, granularity, seed and device table.
        out: The latency table's file.
        reporter: Reporter for progress and messages.

    Raises:
        InputError: If `out` cannot be the table's file, or what is known already was measured elsewhere.
        TargetError: If the target is not available on this machine.
    """
    target = _checked_target(experiment, out, reporter)
    with reporter.stage("load", "loading the network and its data"):
        task = load_task(experiment)
    preflight(task, experiment, reporter, checks=OF_PROFILE)
    target.calibrate(task.calibration_call)
    if target.note:
        reporter.say(target.note)
    with reporter.stage("analyse", f"analysing {task.name}") as bar:
        analysis = analyse(task.model, task.example, blocks=experiment.constraints.gates, progress=bar)
    part = unfinished(out)
    begun = _begun(part, target, reporter)
    multiple = experiment.constraints.granularity
    if multiple is None:
        with reporter.stage("profile", f"probing widths on {target.name}"):
            found = probe(target)
        reporter.say(f"channel multiple of {target.name}: {found.channel_multiple} channels ({found.reason})")
    with reporter.stage("analyse", f"laying out what may go in {task.name}"):
        space = space_for(experiment, analysis, target, multiple, task.name)
    seconds = allowance.effort_of(experiment).seconds
    reporter.say(allowance.announced(experiment, seconds, alone=True))
    with reporter.stage("profile", f"measuring layers on {target.name}") as bar:
        table = profiled(task, experiment, target, analysis, space, part, begun, bar, seconds)
    table.save(out)
    part.unlink(missing_ok=True)
    return table


def _checked_target(experiment: Experiment, out: Path, reporter: Reporter) -> Target:
    """The target, once everything is refused that can be before minutes of work."""
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file")
    if experiment.table is not None and Path(experiment.table).resolve() == out.resolve():
        raise InputError(f"--out {out} would replace the table that --table names; name another file")
    target = target_of(experiment)
    target.require()
    check_techniques(experiment, target, ())
    if experiment.table is not None:
        known = DeviceTable.open(experiment.table, target.fingerprint())
        reporter.say(f"{len(known.entries)} layers of this device are known from {experiment.table}")
    return target


def _begun(part: Path, target: Target, reporter: Reporter) -> LatencyTable | None:
    """What an interrupted profile has measured; None if there was none, or it cannot be read: it is measured again."""
    if not part.exists():
        return None
    try:
        table = LatencyTable.load(part)
    except InputError as error:
        reporter.say(f"starting afresh: {error}")
        return None
    try:
        check_fingerprint(table.fingerprint, target.fingerprint())
    except InputError as error:
        raise InputError(
            f"{part} is of a profile that was interrupted on another target; remove it, or name another --out ({error})"
        ) from error
    return table
