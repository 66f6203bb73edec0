"""Early exits from a trained network to a verified file: places, heads, thresholds, the target's word, the report."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from autoprune.early_exit.files import load_heads, save_heads, save_network
from autoprune.early_exit.fit import Cut, answers_on, fitted_heads
from autoprune.early_exit.flow import flow_of
from autoprune.early_exit.heads import ExitHead, HeadTraining
from autoprune.early_exit.network import DynamicNetwork, Exit
from autoprune.early_exit.places import places_of
from autoprune.early_exit.thresholds import Answers, PathTimes, leaving_at
from autoprune.errors import InputError, UnsupportedModelError
from autoprune.evaluation import accuracy
from autoprune.foundations.files import replacing, write_json
from autoprune.hardware.targets.local import LocalTarget
from autoprune.hardware.timing.effort import effort_named
from autoprune.models import output_of, save_weights
from autoprune.models.inputs.example import as_example, described
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.dynamic.choosing import candidates, require_reachable
from autoprune.pipeline.jobs.dynamic.curves import classes_by_exit, curves, reliability
from autoprune.pipeline.jobs.dynamic.paths import path_times
from autoprune.pipeline.jobs.dynamic.shift import shifted
from autoprune.pipeline.jobs.dynamic.verification import Verified, first_that_holds, local_target
from autoprune.pipeline.jobs.lifecycle import check_target
from autoprune.pipeline.jobs.search import timed
from autoprune.pipeline.jobs.settings import DYNAMIC, OF_DYNAMIC
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.reports.dynamic import DYNAMIC_SCHEMA
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.run.settings import DynamicSettings
from autoprune.space import Policy

__all__ = ["DynamicJob"]

LEAST_SAMPLES = 100
"""Samples of the search split without which no loss can be bounded."""


class DynamicJob(Job):
    """Find places, train heads, choose thresholds, verify on the target; nothing of the network itself changes."""

    name = DYNAMIC
    settings = OF_DYNAMIC

    def check(self, experiment: Experiment) -> None:
        """The target must run one branch of a file alone."""
        check_target(experiment)
        target = target_of(experiment)
        if not isinstance(target, LocalTarget) or not target.runs_branches:
            raise InputError(f"exits cannot be skipped on the target {target.name} yet; use onnxruntime")
        if experiment.target_batch != 1:
            raise InputError(
                "each input takes its own exit: a dynamic network is timed one at a time; leave target_batch 1"
            )

    def run(self, task: Task, run: RunDir, reporter: Reporter) -> Result:
        """Go on where the run stopped; the report comes last.

        Raises:
            UnsupportedModelError: If the network cannot be left early; the tensor in the way is named.
            BudgetError: If a limit is out of reach; the least is named.
            InputError: If the network is not trained, or its score is not accuracy.
        """
        _require_classifier(task)
        settings, reporter = run.experiment, timed(run, reporter)
        task.model.eval()
        with reporter.stage("analyse", "looking for places to leave the network"):
            flow = flow_of(task.model, task.example)
            cut = Cut(task.model, flow, places_of(flow), task.reader)
        reporter.say(f"{len(cut.places)} places: {', '.join(place.name for place in cut.places)}")
        times = _times(task, run, cut, reporter)
        require_reachable(times, settings)
        run.mark_started()
        heads = _heads(task, run, cut, settings, reporter)
        with reporter.stage("search", "answers of every head on the search split"):
            answers = answers_on(cut, heads, task.data.search)
        _require_samples(answers, reporter)
        with reporter.stage("search", "trying every tuple of thresholds"):
            choices = candidates(answers, times, settings)
        verified = first_that_holds(task, run, cut, heads, choices, settings, reporter)
        return _delivered(task, run, cut, heads, times, verified, reporter, answers)


def _require_classifier(task: Task) -> None:
    if not task.trained:
        raise InputError(f"{task.name} has no trained weights; give --weights, exits are put on a network that works")
    if task.evaluate is not accuracy:
        raise InputError("early exits are for classification scored by accuracy; an own score cannot bound their loss")


def _require_samples(answers: Answers, reporter: Reporter) -> None:
    count = answers.right.shape[1]
    if count < LEAST_SAMPLES:
        raise InputError(f"the search split has {count} samples; no loss can be bounded on fewer than {LEAST_SAMPLES}")
    if count < 1000:
        reporter.say(f"the search split has only {count} samples: the bound of the loss is wide, and few inputs leave")


def _times(task: Task, run: RunDir, cut: Cut, reporter: Reporter) -> PathTimes:
    """What leaving at each place takes on the target, measured once a run."""
    classes = _classes(task)

    def session() -> dict[str, Any]:
        heads = [ExitHead(place.shape, classes).eval() for place in cut.places]
        target = local_target(run)
        dense = target.pack(task.model, task.example)
        effort = effort_named(run.experiment.timing)
        return asdict(path_times(cut.flow, cut.places, heads, dense, target, effort, bar))

    with reporter.stage("profile", "timing an exit at every place") as bar:
        found = run.once("dynamic paths", session)
    return PathTimes(found["dense"], tuple(found["leaves"]), tuple(found["passed"]))


def _classes(task: Task) -> int:
    with torch.no_grad():
        output = output_of(as_example(task.example).run(task.model))
    if output.ndim != 2 or output.shape[1] < 2:
        raise UnsupportedModelError(f"early exits are for classification, not outputs of shape {list(output.shape)}")
    return int(output.shape[1])


def _heads(task: Task, run: RunDir, cut: Cut, settings: DynamicSettings, reporter: Reporter) -> list[ExitHead]:
    path = run.file("heads.safetensors")
    if not path.exists():
        training = HeadTraining(epochs=settings.head_epochs, seed=run.experiment.seed)
        with reporter.stage("train", "training the heads; the network stays as it is") as bar:
            save_heads(fitted_heads(cut, task.data.train, training, most=settings.head_samples, progress=bar), path)
    return load_heads(cut.places, _classes(task), path)


def _delivered(
    task: Task,
    run: RunDir,
    cut: Cut,
    heads: list[ExitHead],
    times: PathTimes,
    verified: Verified | None,
    reporter: Reporter,
    search: Answers,
) -> Result:
    """Read the test split once; write the files, the report last."""
    with reporter.stage("test", "scoring on the test split"):
        test = answers_on(cut, heads, task.data.test)
    content: dict[str, Any] = {
        "schema": DYNAMIC_SCHEMA,
        "model": task.name,
        "data": task.data.name,
        "target": target_of(run.experiment).name,
        "settings": run.experiment.exit_limits,
        "places": [asdict(place) | {"shape": list(place.shape)} for place in cut.places],
        "place_ms": {"leaves": list(times.leaves), "passed": list(times.passed)},
        "dense": {"accuracy": float(test.right[-1].mean()), "latency_ms": times.dense},
        "dynamic": verified is not None,
    }
    policy = _uncut(task, run)
    policy.save(run.file("policy.json"))
    if verified is None:
        reporter.say("no choice of exits is faster on the target within the limits: the static network is handed back")
        save_weights(task.model.state_dict(), run.file("pruned.safetensors"))
        write_json(run.file("report.json"), content)
        return Result(task.model, policy, content, run.path)
    choice = verified.choice
    exits = [
        Exit(cut.places[place].name, cut.places[place].node, threshold)
        for place, threshold in zip(choice.places, choice.thresholds, strict=True)
    ]
    network = DynamicNetwork(cut.flow, exits, [heads[place] for place in choice.places], choice.confidence).eval()
    save_network(network, task.model, run.path)
    with replacing(run.file("model.onnx")) as temporary:
        temporary.write_bytes(verified.file)
    content |= _figures(cut, verified, test) | _pictured(verified, search, test)
    with reporter.stage("test", "changed inputs, thresholds as they are"):
        # Asked once: a loader that shuffles gives other inputs the noise the next time.
        content["shift"] = run.once(
            "dynamic shift", lambda: shifted(network, task.model, task.reader, task.data.search)
        )
    write_json(run.file("report.json"), content)
    return Result(network, policy, content, run.path)


def _figures(cut: Cut, verified: Verified, test: Answers) -> dict[str, Any]:
    """What the report says of the exits: as predicted, as measured, and on the test split."""
    choice, (dense, stream) = verified.choice, verified.streams
    taken = leaving_at(test.confidences[choice.confidence][list(choice.places)], choice.thresholds)
    rows = np.array([*choice.places, len(test.right) - 1])[taken]
    right = test.right[rows, np.arange(test.right.shape[1])]
    exits = []
    for number, (ms, expected) in enumerate(zip(verified.paths_ms, choice.shares, strict=True)):
        mine = taken == number
        is_end = number == len(choice.places)
        exits.append(
            {
                "place": "end" if is_end else cut.places[choice.places[number]].name,
                "threshold": None if is_end else choice.thresholds[number],
                "share": float(mine.mean()),
                "expected_share": expected,
                "accuracy": float(right[mine].mean()) if mine.any() else None,
                "dense_accuracy": float(test.right[-1][mine].mean()) if mine.any() else None,
                "path_ms": ms,
            }
        )
    scale = verified.dense_ms / dense.mean  # a call of the stream pays for its dictionaries of inputs, too
    return {
        "dense": {"accuracy": float(test.right[-1].mean()), "latency_ms": verified.dense_ms, "stream": asdict(dense)},
        "accuracy": float(right.mean()),
        "confidence": choice.confidence,
        "promised_drop": choice.bound,
        "search_drop": choice.loss,
        "test_drop": float(test.right[-1].mean() - right.mean()),
        "exits": exits,
        "predicted_mean_latency_ms": verified.predicted,
        "mean_latency_ms": stream.mean * scale,
        "p95_latency_ms": stream.p95 * scale,
        "worst_latency_ms": max(verified.paths_ms),
        "stream": asdict(stream),
        "mean_share": verified.measured_share,
        "predicted_share": verified.predicted / verified.dense_ms,
    }


def _pictured(verified: Verified, search: Answers, test: Answers) -> dict[str, Any]:
    """What the page draws of the test split."""
    choice = verified.choice
    taken = leaving_at(test.confidences[choice.confidence][list(choice.places)], choice.thresholds)
    return {
        "curves": curves(choice, verified.paths_ms, search, test),
        "exits_by_class": classes_by_exit(taken, test.labels, len(choice.places) + 1),
        "reliability": [reliability(test.confidences["max"][place], test.right[place]) for place in choice.places],
    }


def _uncut(task: Task, run: RunDir) -> Policy:
    """A policy that cuts nothing: exits leave the network itself as it is."""
    about = {"name": task.name, "arguments": task.arguments, "example": described(task.example)}
    return Policy(model=about, choices={}, agent=DYNAMIC, seed=run.experiment.seed)
