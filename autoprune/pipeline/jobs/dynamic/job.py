"""Early exits from a trained network to a verified file: places, heads, thresholds, the target's word, the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from autoprune.early_exit.files import load_heads, save_heads, save_network
from autoprune.early_exit.fit import Cut, answers_on, fitted_heads
from autoprune.early_exit.flow import flow_of
from autoprune.early_exit.heads import ExitHead, HeadTraining
from autoprune.early_exit.network import DynamicNetwork, Exit
from autoprune.early_exit.places import places_of
from autoprune.early_exit.thresholds import Answers, PathTimes
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
from autoprune.pipeline.jobs.dynamic.deadlines import anytime_candidates, anytime_rows
from autoprune.pipeline.jobs.dynamic.figures import figures, pictured
from autoprune.pipeline.jobs.dynamic.paths import path_times
from autoprune.pipeline.jobs.dynamic.shift import shifted
from autoprune.pipeline.jobs.dynamic.static import static_beside, take_over
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
            raise InputError(f"exits cannot be skipped on the target {target.name} yet; use onnxruntime or openvino")
        if target.precision != "f32" or target.memory_format != "contiguous":
            raise InputError(
                f"thresholds are chosen on answers in float32; write --target {type(target).name} without its options"
            )
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
            choices = (anytime_candidates if settings.anytime else candidates)(answers, times, settings)
        verified = first_that_holds(task, run, cut, heads, choices, settings, reporter)
        return _delivered(_Made(task, run, cut, heads, times, reporter), verified, answers)


@dataclass(frozen=True, eq=False)
class _Made:
    """What a run has when its exits are chosen."""

    task: Task
    run: RunDir
    cut: Cut
    heads: list[ExitHead]
    times: PathTimes
    reporter: Reporter


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


def _delivered(made: _Made, verified: Verified | None, search: Answers) -> Result:
    """Read the test split once; write the files, the report last."""
    task, run, cut, reporter = made.task, made.run, made.cut, made.reporter
    static = None if verified is None else static_beside(task, run, verified, reporter)
    with reporter.stage("test", "scoring on the test split"):
        test = answers_on(cut, made.heads, task.data.test)
    content: dict[str, Any] = {
        "schema": DYNAMIC_SCHEMA,
        "model": task.name,
        "data": task.data.name,
        "target": target_of(run.experiment).name,
        "settings": run.experiment.exit_limits,
        "places": [asdict(place) | {"shape": list(place.shape)} for place in cut.places],
        "place_ms": {"leaves": list(made.times.leaves), "passed": list(made.times.passed)},
        "dense": {"accuracy": float(test.right[-1].mean()), "latency_ms": made.times.dense},
        "dynamic": verified is not None,
        "static": static,
    }
    if verified is None:
        reporter.say("no choice of exits is faster on the target within the limits: the static network is handed back")
        save_weights(task.model.state_dict(), run.file("pruned.safetensors"))
        return _finished(run, task.model, _uncut(task, run), content)
    content |= figures(cut.places, verified, test)
    if _is_better(static, verified, search):
        reporter.say("a static network of the same mean latency is more accurate: it is handed back")
        small, policy = take_over(task, run, verified)
        return _finished(run, small, policy, content | {"dynamic": False})
    inputs = search.right.shape[1]
    expected = tuple(round(share * inputs) for share in verified.choice.shares)
    network = _network(made, verified, expected)
    save_network(network, task.model, run.path)
    with replacing(run.file("model.onnx")) as temporary:
        temporary.write_bytes(verified.file)
    content |= pictured(verified, search, test) | _anytime(made, verified, test)
    with reporter.stage("test", "changed inputs, thresholds as they are"):
        # Asked once: a loader that shuffles gives other inputs the noise the next time.
        content["shift"] = run.once(
            "dynamic shift",
            lambda: shifted(_network(made, verified, ()), task.model, task.reader, task.data.search, expected),
        )
    return _finished(run, network, _uncut(task, run), content)


def _finished(run: RunDir, model: nn.Module, policy: Policy, content: dict[str, Any]) -> Result:
    policy.save(run.file("policy.json"))
    write_json(run.file("report.json"), content)
    return Result(model, policy, content, run.path)


def _is_better(static: dict[str, Any] | None, verified: Verified, search: Answers) -> bool:
    """Whether a static network gets more of the search split right than the one with exits, in the same mean time."""
    if static is None or "search_accuracy" not in static:
        return False
    return bool(static["search_accuracy"] > search.right[-1].mean() - verified.choice.loss)


def _network(made: _Made, verified: Verified, expected: Sequence[int]) -> DynamicNetwork:
    choice, places = verified.choice, made.cut.places
    exits = [
        Exit(places[place].name, places[place].node, threshold)
        for place, threshold in zip(choice.places, choice.thresholds, strict=True)
    ]
    heads = [made.heads[place] for place in choice.places]
    deadlines = [each["deadline_ms"] for each in verified.deadlines]
    network = DynamicNetwork(made.cut.flow, exits, heads, choice.confidence, expected=expected, deadlines_ms=deadlines)
    return network.eval()


def _anytime(made: _Made, verified: Verified, test: Answers) -> dict[str, Any]:
    names = [place.name for place in made.cut.places]
    return {"deadlines": anytime_rows(verified.choice, names, test, verified.deadlines)} if verified.deadlines else {}


def _uncut(task: Task, run: RunDir) -> Policy:
    """A policy that cuts nothing: exits leave the network itself as it is."""
    about = {"name": task.name, "arguments": task.arguments, "example": described(task.example)}
    return Policy(model=about, choices={}, agent=DYNAMIC, seed=run.experiment.seed)
