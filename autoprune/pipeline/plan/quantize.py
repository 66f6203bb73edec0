"""What `autoprune quantize` would do, with estimated seconds."""

from __future__ import annotations

import itertools
import time

from autoprune.hardware.timing.effort import effort_named
from autoprune.pipeline.finish.integers import calibration_of
from autoprune.pipeline.jobs.quantize.subject import float_file, subject_of
from autoprune.pipeline.jobs.quantize.trials import schemes_of, target_with_integers
from autoprune.pipeline.plan.base import Plan, PlannedStage
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.quantization.observe import histograms
from autoprune.run.experiment import Experiment

__all__ = ["quantize_plan"]

_WRITTEN = ("experiment.yaml", "checkpoint/", "policy.json", "dense.safetensors", "quantized.onnx", "model.onnx",
            "report.json", "report.html")  # fmt: skip


def quantize_plan(task: Task, experiment: Experiment, reporter: Reporter) -> Plan:
    """Lay out a job whose preflight has passed: the network is exported and timed once, a batch is calibrated on.

    Args:
        task: Its network gets the run's dense weights where a run is quantized.
        experiment: The settings.
        reporter: Shows the stage.

    Raises:
        InputError: If there is nothing that could be quantized.
    """
    with reporter.stage("plan", "exporting the network, timing single steps"):
        subject = subject_of(task, experiment)
        start = time.perf_counter()
        file = float_file(subject.network, task.example)
        marks = [start, time.perf_counter()]
        images = calibration_of(task, subject.network, experiment.calibration_images)
        histograms(file.model, file.sites.tensors, images[:1])
        marks.append(time.perf_counter())
        effort, target = effort_named(experiment.timing), target_with_integers(experiment)
        target.time([target.pack(subject.network, task.timed_example)], effort.plan(effort.seconds).protocol)
        marks.append(time.perf_counter())
    export, ranges, timed = (after - before for before, after in itertools.pairwise(marks))
    layers, types = len(file.sites.layers), len(schemes_of(experiment))
    stages = (
        PlannedStage("export", export, "as just now"),
        PlannedStage("calibrate", (len(images) + layers / 2) * ranges, f"{len(images)} batches, {layers} layers"),
        PlannedStage("probe", (1 + types) * timed, f"{types} types and float32 on {target.name}"),
        PlannedStage("verify", effort.passes * 2 * timed, "float32, integers, 16 bits where integers lose too much"),
        PlannedStage("layers", layers * timed / 4, "each layer alone"),
    )
    said = f"at most {experiment.tolerance:g} points lost on the search split"
    return Plan(task.name, {"layer": layers}, {}, said, stages, _WRITTEN, str(experiment.run_dir))
