"""What `autoprune lottery` would do, with estimated seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autoprune.masks.ladder import first_masks
from autoprune.models.copying import duplicate
from autoprune.pipeline.allowance import effort_of
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.lottery.job import refuse_early
from autoprune.pipeline.jobs.lottery.levels import validation_loss
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.transfer import ARMS
from autoprune.pipeline.jobs.lottery.widths import with_others
from autoprune.pipeline.plan.base import Plan, PlannedStage
from autoprune.pipeline.plan.steps import test_score, training_step
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task, require_trainable
from autoprune.run.experiment import Experiment
from autoprune.run.settings.lottery import CHANNELS_FORM, CSR_FORM
from autoprune.training import Trainer
from autoprune.training.constraint import Masks
from autoprune.training.trainer import count_batches

__all__ = ["lottery_plan"]

_WRITTEN = ("experiment.yaml", "checkpoint/", "rounds.jsonl", "tickets/", "policy.json", "dense.safetensors",
            "pruned.safetensors", "finetuned.safetensors", "tensorboard/", "report.json", "report.html")  # fmt: skip


def lottery_plan(task: Task, experiment: Experiment, reporter: Reporter) -> Plan:
    """Lay out a study whose preflight has passed: a few steps of a training and the scores after it are timed.

    Args:
        task: Left as it is.
        experiment: The settings.
        reporter: Shows the stage.

    Raises:
        InputError: If a setting does not fit the training's steps, or nothing can be pruned.
    """
    require_trainable(task)
    with reporter.stage("plan", "timing steps of a training"):
        networks = Networks(task, experiment)
        refuse_early(networks)
        step, scores = _step_seconds(networks), _score_seconds(networks)
    epochs, steps = networks.schedule.epochs, networks.schedule.epochs * count_batches(task.data.train)
    seconds = steps * step + epochs * scores["search"] + scores["search"] + 2 * scores["test"]
    stages = tuple(
        PlannedStage(name, count * seconds, f"{count} trainings of {steps} steps, {1e3 * step:.1f} ms each, at most")
        for name, count in _trainings(experiment).items()
        if count
    )
    if CHANNELS_FORM in experiment.form_names:
        most, why = effort_of(experiment).of_profile, f"at most, by --timing {experiment.timing}"
        stages = (*stages, PlannedStage("profile of the target", most, why))
    target = target_of(experiment).name
    said = f"{experiment.rounds} rounds of {experiment.rate:.0%} each, {experiment.seeds} seeds; timed on {target}"
    return Plan(task.name, {"weight": len(networks.rates)}, {}, said, stages, _WRITTEN, str(experiment.run_dir))


def _trainings(experiment: Experiment) -> dict[str, int]:
    """Trainings by stage; those of a ticket begin at step k, so that they are somewhat shorter."""
    controls, seeds = experiment.control_names, experiment.seeds
    each = 1 + ("reinit" in controls) + experiment.rounds * (1 + len(controls))
    forms = sum(name != CSR_FORM for name in with_others(experiment.form_names))
    return {
        "tickets and controls": seeds * each,
        "stability": 2 * seeds * len(experiment.stability_steps),
        "transfer": len(experiment.transfers) * seeds * (experiment.rounds + len(ARMS) - 1),
        "forms": seeds * forms * len(experiment.form_rounds_of(experiment.rounds)),
    }


def _step_seconds(networks: Networks) -> float:
    """Seconds of a step under masks, its batch read."""
    network = networks.fresh(networks.experiment.seed)
    masks = Masks(first_masks({name: network.get_parameter(name) for name in networks.rates}))
    settings = replace(networks.schedule, epochs=1, distil_weight=0.0)

    def trainer_on(batches: Sequence[Any]) -> Trainer:
        own = networks.task
        return Trainer(network, batches, settings, loss=own.loss, reader=own.reader, constraint=masks)

    return training_step(networks.task, trainer_on)


def _score_seconds(networks: Networks) -> dict[str, float]:
    """Seconds of the loss on the search split and of the score on the test split."""
    task = networks.task
    start = time.perf_counter()
    validation_loss(task, duplicate(task.model))
    return {"search": time.perf_counter() - start, "test": test_score(task)}
