"""A trained network made dynamic, to a verified file: its method, thresholds, the target's word, the report."""

from __future__ import annotations

from typing import Any

from torch import nn

from autoprune.errors import InputError
from autoprune.evaluation import accuracy
from autoprune.foundations.files import replacing, write_json
from autoprune.hardware.timing.effort import effort_named
from autoprune.models import save_weights
from autoprune.models.inputs.example import described
from autoprune.pipeline.device import branching_target, target_of
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.dynamic.extremes import extremes
from autoprune.pipeline.jobs.dynamic.joint.settings import width_experiment
from autoprune.pipeline.jobs.dynamic.methods.base import Fixed, Prepared
from autoprune.pipeline.jobs.dynamic.methods.registry import method_of
from autoprune.pipeline.jobs.dynamic.paths import local_target, timed_files
from autoprune.pipeline.jobs.dynamic.shift import images_in, shifted
from autoprune.pipeline.jobs.dynamic.static import static_beside, static_figures, take_over
from autoprune.pipeline.jobs.dynamic.verification import first_that_holds
from autoprune.pipeline.jobs.dynamic.verified import Verified
from autoprune.pipeline.jobs.lifecycle import check_target
from autoprune.pipeline.jobs.search import timed
from autoprune.pipeline.jobs.settings import DYNAMIC, OF_DYNAMIC
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.reports.dynamic import DYNAMIC_SCHEMA
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import Policy

__all__ = ["DynamicJob"]


class DynamicJob(Job):
    """Find places, train heads, choose thresholds, verify on the target; nothing of the network itself changes."""

    name = DYNAMIC
    settings = OF_DYNAMIC

    def check(self, experiment: Experiment) -> None:
        """The target must run one branch of a file alone."""
        method_of(experiment).check(experiment)
        check_target(width_experiment(experiment))
        branching_target(target_of(experiment))
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
        made = method_of(settings).prepare(task, run, reporter)
        verified = first_that_holds(task, run, made, made.choices(), settings, reporter)
        return _delivered(task, run, made, verified, reporter)


def _require_classifier(task: Task) -> None:
    if not task.trained:
        raise InputError(f"{task.name} has no trained weights; give --weights, a network that works is made dynamic")
    if task.evaluate is not accuracy:
        raise InputError("dynamic networks are for classification scored by accuracy; an own score bounds no loss")


def _delivered(task: Task, run: RunDir, made: Prepared, verified: Verified | None, reporter: Reporter) -> Result:
    """Read the test split once; write the files, the report last."""
    static = None if verified is None else static_beside(task, run, verified, reporter)
    save_weights(task.model.state_dict(), run.file("dense.safetensors"))
    content: dict[str, Any] = {
        "schema": DYNAMIC_SCHEMA,
        "model": task.name,
        "data": task.data.name,
        "target": target_of(run.experiment).name,
        "method": run.experiment.method,
        "settings": run.experiment.exit_limits,
        **made.offered(),
        "dynamic": verified is not None,
        "static": static,
    }
    tested = made.tested(verified)
    if verified is None:
        reporter.say("no thresholds are faster on the target within the limits: the static network is handed back")
        for name in ("pruned", "finetuned"):  # all that reads finished runs finds the network there
            save_weights(task.model.state_dict(), run.file(f"{name}.safetensors"))
        whole = static_figures(tested, tested["dense"]["accuracy"], 1.0)
        return _finished(run, task.model, _uncut(task, run), content | whole)
    if static is not None and _is_better(static, made.search_accuracy - verified.choice.loss):
        reporter.say("a static network of the same mean latency is more accurate: it is handed back")
        small, policy = take_over(task, run, verified)
        figures = static_figures(tested, static["accuracy"], static["latency_share"])
        return _finished(run, small, policy, content | figures)
    if (fixed := made.fixed(verified)) is not None:
        reporter.say(f"{fixed.name} alone is as fast and as accurate: it is handed back as a static network")
        save_weights(fixed.model.state_dict(), run.file("finetuned.safetensors"))
        content["fixed"] = _timed(task, run, fixed, reporter)
        figures = static_figures(tested, fixed.accuracy, content["fixed"]["latency_share"])
        return _finished(run, fixed.model, fixed.policy, content | figures)
    expected = made.expected(verified.choice)
    network = made.network(verified, expected)
    made.save(network, verified, run.path)
    with replacing(run.file("model.onnx")) as temporary:
        temporary.write_bytes(verified.file)
    content |= tested | made.pictured(verified)
    still = made.network(verified, ())
    paths = [each["place"] for each in content["exits"]]

    def looked_at() -> dict[str, Any]:
        images, labels = images_in(task.model, task.reader, task.data.search)
        return {
            "shift": shifted(still, task.model, images, labels, expected),
            "extremes": extremes(still, images, labels, paths),
        }

    with reporter.stage("test", "changed inputs, thresholds as they are"):
        # Asked once: a loader that shuffles gives other inputs the noise the next time.
        content |= run.once("dynamic images", looked_at)
    return _finished(run, network, made.policy() or _uncut(task, run), content)


def _timed(task: Task, run: RunDir, fixed: Fixed, reporter: Reporter) -> dict[str, Any]:
    """What the report says of a single path that is handed back: its accuracy, and its time without the gate."""
    target, effort = local_target(run), effort_named(run.experiment.timing)

    def session() -> list[float]:
        payloads = [target.pack(model, task.example) for model in (task.model, fixed.model)]
        return [each.ms for each in timed_files(target, payloads, effort, bar)]

    with reporter.stage("verify", "timing the static network") as bar:
        dense, ms = run.once("dynamic fixed path", session)
    return {"name": fixed.name, "accuracy": fixed.accuracy, "latency_ms": ms, "latency_share": ms / dense}


def _finished(run: RunDir, model: nn.Module, policy: Policy, content: dict[str, Any]) -> Result:
    policy.save(run.file("policy.json"))
    write_json(run.file("report.json"), content)
    return Result(model, policy, content, run.path)


def _is_better(static: dict[str, Any], dynamic: float) -> bool:
    """Whether a static network gets more of the search split right than the dynamic one, in the same mean time."""
    return "search_accuracy" in static and bool(static["search_accuracy"] > dynamic)


def _uncut(task: Task, run: RunDir) -> Policy:
    """A policy that cuts nothing: being dynamic leaves the network itself as it is."""
    about = {"name": task.name, "arguments": task.arguments, "example": described(task.example)}
    return Policy(model=about, choices={}, agent=DYNAMIC, seed=run.experiment.seed)
