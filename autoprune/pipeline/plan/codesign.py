"""What `autoprune codesign` would do, with estimated seconds."""

from __future__ import annotations

import time

from autoprune.graph import analyse
from autoprune.hardware.accelerators import Accelerator, Workload, workload_of
from autoprune.models.inputs.example import as_example
from autoprune.pipeline.finish.lengths import final_epochs
from autoprune.pipeline.jobs.codesign.arms import space_on
from autoprune.pipeline.jobs.codesign.begin import families_of
from autoprune.pipeline.jobs.codesign.designs import cores_of
from autoprune.pipeline.jobs.codesign.layers import calls_of
from autoprune.pipeline.plan.base import Plan, PlannedStage
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.experiment import Experiment
from autoprune.techniques.sparsity.kept import SHARES

__all__ = ["codesign_plan"]

_SEARCHES = 3  # ratios on the fixed chip, joint, random: as many episodes each
_SCORED = 0.6  # of the search split, which episodes have
_TRAINING = 3  # forward passes that a step of training takes about
_TESTED = 20  # points of the front and the baselines that are scored on the test split, about

_WRITTEN = ("experiment.yaml", "checkpoint/", "episodes.jsonl", "dense.safetensors", "policy.json", "masks.safetensors",
            "accelerator.yaml", "pruned.safetensors", "finetuned.safetensors", "front.json", "report.json",
            "report.html")  # fmt: skip


def codesign_plan(task: Task, experiment: Experiment, reporter: Reporter) -> Plan:
    """Lay out a job whose preflight has passed: the dense layers are priced once, and a batch is scored.

    Args:
        task: Left as it is.
        experiment: The settings.
        reporter: Shows the stage.

    Raises:
        InputError: If no layer can have the pattern of a chip.
        UnsupportedModelError: If the network multiplies with weights in a way that is not priced.
    """
    designs = cores_of(experiment, experiment.seed)
    with reporter.stage("plan", "pricing the dense network, scoring a batch"):
        analysis = analyse(task.model, task.example)
        workload = workload_of(task.model, task.example, calls_of(task), vectors=experiment.vectors)
        workload.require_priced()
        families = families_of(designs)
        spaces = {name: space_on(task, experiment, analysis, workload, name)[1] for name in families}
        priced = {name: _priced_seconds(designs[0].chip, workload) for name, designs in families.items()}
        image = _image_seconds(task)
    options = {name: max(len(d.options) for d in space.decisions) for name, space in spaces.items()}
    pricing = sum(len(families[name]) * options[name] * priced[name] for name in families)
    searches = _SEARCHES if "pruning" in experiment.searched else 0
    scores = searches * experiment.episodes + len(families) * (len(SHARES) + 1)
    searched, tested = task.data.counts.get("search", 0) * _SCORED, task.data.counts.get("test", 0)
    epochs = final_epochs(experiment, task.data)
    trained = task.data.counts.get("train", 0) * epochs
    stages = (
        PlannedStage("pricing", pricing, f"{len(designs)} chips, every option of every layer"),
        PlannedStage("search", scores * searched * image, f"{scores} networks at most, each scored once"),
        PlannedStage("fine-tuning", _TRAINING * trained * image, f"{epochs} epochs, each image {_TRAINING} forwards"),
        PlannedStage("test", _TESTED * tested * image, f"about {_TESTED} points of the fronts"),
    )
    first = next(iter(spaces.values()))
    area = experiment.area or "what the first accelerator takes"
    said = f"{experiment.objective} within {area}, losing at most {experiment.accuracy_drop:g}"
    decisions = {f"kept ({name.name})": len(space) for name, space in spaces.items()}
    return Plan(task.name, decisions, first.frozen, said, stages, _WRITTEN, str(experiment.run_dir))


def _priced_seconds(chip: Accelerator, workload: Workload) -> float:
    start = time.perf_counter()
    chip.total(workload.works)
    return time.perf_counter() - start


def _image_seconds(task: Task) -> float:
    """Seconds until one image is scored, of a batch of the search split."""
    batch = next(iter(task.data.search))
    start = time.perf_counter()
    task.score(task.model, [batch])
    return (time.perf_counter() - start) / max(1, as_example(task.reader.call(task.model, batch)).batch)
