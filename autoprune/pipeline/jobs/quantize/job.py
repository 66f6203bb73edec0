"""From a trained network to integers that were proved on the target, or to the reason why float32 stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autoprune.export.onnx import to_onnx
from autoprune.export.onnx_network import QUANTIZED_FILE, OnnxNetwork, precision_of
from autoprune.foundations.files import replacing, write_json
from autoprune.hardware.contract.protocol import Measurement
from autoprune.models import save_weights
from autoprune.pipeline.finish.integers import calibration_of
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.lifecycle import check_target
from autoprune.pipeline.jobs.quantize.choosing import Choice, chosen, first_method, is_within
from autoprune.pipeline.jobs.quantize.figures import quantize_report
from autoprune.pipeline.jobs.quantize.gains import layer_gains
from autoprune.pipeline.jobs.quantize.halves import half_files, scored_halves
from autoprune.pipeline.jobs.quantize.layers import layer_errors, layer_rows
from autoprune.pipeline.jobs.quantize.subject import FloatFile, Subject, float_file, subject_of
from autoprune.pipeline.jobs.quantize.training import AfterTraining, trained
from autoprune.pipeline.jobs.quantize.trials import Workbench, schemes_of, target_with_integers
from autoprune.pipeline.jobs.search import timed
from autoprune.pipeline.jobs.settings import OF_QUANTIZE, QUANTIZE
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task, require_trainable
from autoprune.quantization.fake import fake_quantized
from autoprune.quantization.observe import Fed, histograms
from autoprune.quantization.qdq import QuantizationPlan
from autoprune.quantization.ranges import RANGES
from autoprune.quantization.scheme import Scheme
from autoprune.reports.quantization import FIGURES
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment

__all__ = ["QuantizeJob"]

_JUDGED = 64  # calibration images on which layers are judged alone


class QuantizeJob(Job):
    """Calibrate, try types on the target, choose ranges and layers, verify, hand over the faster file."""

    name = QUANTIZE
    settings = OF_QUANTIZE

    def check(self, experiment: Experiment) -> None:
        """Types must be known, and the target must compute with integers."""
        schemes_of(experiment)
        target_with_integers(experiment)
        check_target(experiment)

    def run(self, task: Task, run: RunDir, reporter: Reporter) -> Result:
        """Go on where the run stopped; the report comes last.

        Raises:
            InputError: If there is nothing trained to quantize, or calibration images say no ranges.
        """
        experiment, reporter = run.experiment, timed(run, reporter)
        subject = subject_of(task, experiment)
        if experiment.qat:
            require_trainable(task)
        with reporter.stage("export", "exporting the network"):
            file = float_file(subject.network, task.example)
        images = calibration_of(task, subject.network, experiment.calibration_images)
        ranges = _ranges(run, file, images, reporter)
        if experiment.qat:  # what cannot be trained is refused before anything is timed
            plan = QuantizationPlan(schemes_of(experiment)[0], ranges[first_method(experiment.ranges)])
            fake_quantized(subject.network, task.example, file.model, plan)
        run.mark_started()
        bench = Workbench(task, run, target_with_integers(experiment), file, ranges)
        errors = _errors(bench, images, reporter)
        choice = chosen(bench, schemes_of(experiment), errors, reporter)
        bench, choice, after = _after_training(bench, subject, choice, reporter)
        files = {"float": file.content, "quantized": bench.content(choice.trial)}
        halves = scored_halves(bench, file.content, choice, reporter)
        files |= half_files(halves, file.content)
        if subject.pruned:
            files["dense"] = to_onnx(subject.dense, task.example, dynamic_batch=True)
        times = _verified(bench, files, reporter)
        gains = layer_gains(bench, subject.network, choice.trial, reporter)
        rows = layer_rows(file, choice.trial, ranges[choice.trial.method], errors, gains)
        with reporter.stage("test", "scoring on the test split"):
            count = sum(len(fed[0]) for fed in images)
            content = quantize_report(bench, subject, choice, files, times, rows, count, halves)
        content["qat"] = None if after is None else after.to_json()
        return _delivered(bench, subject, files, content, reporter)


def _ranges(
    run: RunDir, file: FloatFile, images: list[Fed], reporter: Reporter
) -> Mapping[str, Mapping[str, tuple[float, float]]]:
    """The range of every tensor by every method, from the run where that has them."""

    def compute() -> dict[str, Any]:
        with reporter.stage("calibrate", "ranges of activations", 2 * len(images)) as bar:
            found = histograms(file.model, file.sites.tensors, images, bar)
        return {
            method: {name: list(range_of(each, Scheme())) for name, each in found.items()}
            for method, range_of in RANGES.items()
        }

    stored = run.once("quantize ranges", compute)
    return {method: {name: (pair[0], pair[1]) for name, pair in each.items()} for method, each in stored.items()}


def _errors(bench: Workbench, images: list[Fed], reporter: Reporter) -> dict[str, float]:
    """See `layer_errors`; from the run where that has them."""
    method = first_method(bench.run.experiment.ranges)
    plan = QuantizationPlan(schemes_of(bench.run.experiment)[0], bench.ranges[method])

    def compute() -> dict[str, float]:
        with reporter.stage("calibrate", "each layer alone with integers", len(bench.file.sites.layers)) as bar:
            return layer_errors(bench.file, plan, [each[:_JUDGED] for each in images[0]], bar)

    found: dict[str, float] = bench.run.once("quantize layer errors", compute)
    return found


def _after_training(
    bench: Workbench, subject: Subject, choice: Choice, reporter: Reporter
) -> tuple[Workbench, Choice, AfterTraining | None]:
    """The trained weights and their score, where training with integers is asked for and was worth it."""
    if not bench.run.experiment.qat:
        return bench, choice, None
    after = trained(bench, subject, choice, reporter)
    if not after.kept:
        return bench, choice, after
    within = is_within(bench, float(after.trial.score or 0.0), choice.float_score)
    return replace(bench, file=after.file), replace(choice, trial=after.trial, within=within), after


def _verified(bench: Workbench, files: Mapping[str, bytes], reporter: Reporter) -> dict[str, Measurement]:
    """All files interleaved on the target: the last word on which is faster."""

    def session() -> dict[str, Any]:
        with reporter.stage("verify", "timing number formats on the target") as bar:
            taken = bench.times(list(files.values()), bar)
        return {name: measured.to_json() for name, measured in zip(files, taken, strict=True)}

    stored = bench.run.once("quantize timing", session)
    return {name: Measurement.from_json(content) for name, content in stored.items()}


def _delivered(
    bench: Workbench, subject: Subject, files: Mapping[str, bytes], content: dict[str, Any], reporter: Reporter
) -> Result:
    """The file that is handed over, the policy, the report."""
    run = bench.run
    kind = content["handed_over"]
    handed = files[FIGURES.get(kind, kind)]
    if content["reason"]:
        reporter.say(f"{kind} is handed over: {content['reason']}")
    save_weights(subject.dense.state_dict(), run.file("dense.safetensors"))
    for name, file in ((QUANTIZED_FILE, files["quantized"]), ("model.onnx", handed)):
        with replacing(run.file(name)) as temporary:
            temporary.write_bytes(file)
    subject.policy.save(run.file("policy.json"))
    write_json(run.file("report.json"), content)
    # 16 bits are the target's alone; onnxruntime computes all other files as well as the target does
    caller = bench.target.caller(handed) if precision_of(handed) else None
    return Result(OnnxNetwork(handed, caller), subject.policy, content, run.path)
