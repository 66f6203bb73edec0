"""What `autoprune dynamic` would do, with estimated seconds."""

from __future__ import annotations

import time

import torch

from autoprune.dynamic_networks.flow import Flow, flow_of
from autoprune.dynamic_networks.stages import cut_at
from autoprune.early_exit.fit import Cut
from autoprune.hardware.targets.local import LocalTarget
from autoprune.hardware.timing.effort import effort_named
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.dynamic.joint.settings import width_experiment
from autoprune.pipeline.jobs.dynamic.methods.registry import method_of
from autoprune.pipeline.jobs.dynamic.paths import timed_files
from autoprune.pipeline.jobs.dynamic.static import static_experiment
from autoprune.pipeline.jobs.dynamic.verification import STREAM
from autoprune.pipeline.plan.base import Plan, PlannedStage
from autoprune.pipeline.plan.job import compress_plan
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.experiment import Experiment

__all__ = ["dynamic_plan"]

_WRITTEN = ("experiment.yaml", "checkpoint/", "policy.json", "dense.safetensors", "model.onnx", "report.json",
            "report.html")  # fmt: skip


def dynamic_plan(task: Task, experiment: Experiment, reporter: Reporter) -> Plan:
    """Lay out a job whose preflight has passed: the dense network is timed once, and a batch is read.

    Args:
        task: Left as it is.
        experiment: The settings.
        reporter: Shows the stage.

    Raises:
        UnsupportedModelError: If the network has no place for the method; what is in the way is named.
        InputError: If it cannot be trained for the method.
    """
    with reporter.stage("plan", "looking for places, timing single steps") as bar:
        flow = flow_of(task.model.eval(), task.example)
        method = method_of(experiment)
        offer = method.offer(task, experiment, flow)
        target, effort = target_of(experiment), effort_named(experiment.timing)
        assert isinstance(target, LocalTarget)  # as `check` wants it
        start = time.perf_counter()
        dense = timed_files(target, [target.pack(task.model, task.example)], effort, bar)[0].ms
        file, sample = time.perf_counter() - start, _sample_seconds(task, flow)
    counts = task.data.counts
    count = min(experiment.head_samples, counts.get("train", experiment.head_samples))
    stream = min(STREAM, counts.get("search", STREAM)) * 2 * dense / 1e3
    read = PlannedStage("heads", count * sample, f"{count} samples at {1e3 * sample:.2f} ms, without their training")
    stages: tuple[PlannedStage, ...] = (
        PlannedStage("times of the places", offer.files * file, f"{offer.files} files, one timed at {file:.1f} s"),
        *((read,) if method.reads_values else ()),
        PlannedStage("search", counts.get("search", 0) * sample, "answers on the search split"),
        PlannedStage("verification", offer.paths * file + stream, "every path, and a stream of inputs"),
        PlannedStage("test", counts.get("test", 0) * sample, "answers on the test split"),
    )
    stages += _widths(task, experiment, reporter) + _training(task, experiment, sample)
    stages += _static(task, experiment, reporter)
    mean = f"a mean of at most {experiment.mean_latency}" if experiment.mean_latency else "the least mean"
    limits = f"{mean} at a loss of at most {experiment.max_drop:g} points, longest path {experiment.worst}"
    said = f"{limits}; the dense network takes {dense:.4g} ms"
    written = (*_WRITTEN[:-2], *method.written, *_WRITTEN[-2:])
    return Plan(task.name, {offer.kind: offer.count}, {}, said, stages, written, str(experiment.run_dir))


def _training(task: Task, experiment: Experiment, sample: float) -> tuple[PlannedStage, ...]:
    """The training of a method that has one: a step takes about three times what the forward passes do."""
    passes, epochs = method_of(experiment).passes, experiment.dynamic_epochs
    seconds = 3 * passes * epochs * task.data.counts.get("train", 0) * sample
    return (PlannedStage("training", seconds, f"{epochs} epochs, {passes} passes a sample"),) if passes else ()


def _widths(task: Task, experiment: Experiment, reporter: Reporter) -> tuple[PlannedStage, ...]:
    """The search for widths and exits, as a search for widths with as many episodes has it."""
    if not experiment.kinds:
        return ()
    seconds = compress_plan(task, width_experiment(experiment), reporter).seconds
    said = f"{experiment.episodes} episodes of {experiment.agent}, then the training of both together"
    return (PlannedStage("widths and exits", seconds, said),)


def _static(task: Task, experiment: Experiment, reporter: Reporter) -> tuple[PlannedStage, ...]:
    """The search for a static network to compare, as its own plan would have it for half the latency."""
    if experiment.static_episodes == 0 or experiment.anytime:
        return ()
    seconds = compress_plan(task, static_experiment(experiment, 0.5), reporter).seconds
    said = f"{experiment.static_episodes} episodes, {experiment.static_epochs} epochs of fine-tuning, to compare"
    return (PlannedStage("static network", seconds, said),)


def _sample_seconds(task: Task, flow: Flow) -> float:
    """Seconds until the network has answered to one sample, of a batch of the search split."""
    batch = next(iter(task.data.search))
    cut, stages = Cut(task.model, flow, (), task.reader), cut_at(flow, [])
    start = time.perf_counter()
    with torch.no_grad():
        (logits,) = cut.values(stages, batch)
    return (time.perf_counter() - start) / len(logits)
