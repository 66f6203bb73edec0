"""`quantize` in 16 bits: what is tried where integers are not the answer, and what a run then hands over."""

from types import SimpleNamespace

import pytest
import torch

import autoprune
from autoprune.export.onnx_network import OnnxNetwork, precision_of, with_fixed_batch, with_precision
from autoprune.hardware import Measurement, get_target
from autoprune.pipeline.bench.subject import subject_of_run
from autoprune.pipeline.jobs.quantize.choosing import Choice
from autoprune.pipeline.jobs.quantize.halves import Half, fastest_half, scored_halves
from autoprune.pipeline.jobs.quantize.trials import Trial
from autoprune.pipeline.load import export_run, of_its_runtime
from autoprune.pipeline.reporter import Silent
from autoprune.reports import write_html
from autoprune.reports.compare import read_runs
from autoprune.reports.quantization import quantization_lines
from autoprune.run.directory import read_settings
from tests.support.targets.integers import InHalves

pytest.importorskip("onnxruntime")
KEYWORDS = {
    "target": "tests.support.targets.integers:InHalves",
    "timing": "quick",
    "train_threads": 1,
    "types": "U8S8",
    "tolerance": 3.0,
}
BF16, F16 = Half("bfloat16", "bf16", 0.9, True), Half("float16", "f16", 0.9, True)


@pytest.fixture(scope="module")
def finished(trained, loaders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("halves") / "run"
    return folder, autoprune.quantize(trained, **loaders, run=folder, **KEYWORDS)


def test_where_integers_do_not_pay_the_fastest_16_bits_within_the_tolerance_are_handed_over(finished):
    report = finished[1].report
    assert report["handed_over"] == "bfloat16" and report["reason"].startswith("integers are not faster here")
    bfloat, half = report["tried_halves"]
    assert (bfloat["type"], bfloat["within"], bfloat["speedup"]) == ("bfloat16", True, 2.0)
    assert (half["type"], half["within"], half["latency_ms"]) == ("float16", False, None)
    assert bfloat["score"] == report["search"]["float"] > half["score"]
    assert report["bfloat16"]["latency_ms"] == 0.25 and report["bfloat16"]["accuracy"] == report["float"]["accuracy"]
    lines = quantization_lines(report)
    assert any(line.startswith("bfloat16: ") and line.endswith("2.00 times as fast as float32") for line in lines)
    assert f"bfloat16 is handed over: {report['reason']}" in lines


def test_the_file_says_its_precision_and_the_runs_own_target_computes_it(finished, tmp_path, monkeypatch):
    folder, result = finished
    asked = []
    monkeypatch.setattr(InHalves, "caller", lambda self, payload: asked.append(precision_of(payload)) or (lambda x: x))
    small = autoprune.load(folder)
    assert asked == ["bf16"] and isinstance(small, OnnxNetwork) and small.content == result.model.content
    assert precision_of((folder / "model.onnx").read_bytes()) == "bf16"
    assert precision_of((folder / "quantized.onnx").read_bytes()) is None
    assert subject_of_run(folder, scored=False).small.content == small.content and asked == ["bf16", "bf16"]
    export_run(folder, "onnx", tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == small.content


def test_where_the_target_is_not_here_onnxruntime_computes_the_same_weights(finished, loaders, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr(InHalves, "available", lambda self: "not installed")
    images = next(iter(loaders["test"]))[0]
    file = OnnxNetwork((folder / "model.onnx").read_bytes())
    assert of_its_runtime(file, read_settings(folder)[0]) is file
    assert torch.equal(autoprune.load(folder)(images), file(images))


def test_a_run_that_hands_over_16_bits_is_compared_shown_and_gone_on_with(finished, trained, loaders):
    folder, result = finished
    (seen,) = read_runs([folder]).values()
    assert seen.finetuned.latency_ms == 0.25 and seen.agent == "quantize: bfloat16"
    assert "bfloat16 is handed over" in write_html(folder).read_text()
    (folder / "report.json").unlink()
    again = autoprune.quantize(trained, **loaders, run=folder, resume=True, **KEYWORDS)
    reports = [{**each.report, "seconds": None} for each in (again, result)]
    assert reports[0] == reports[1] and again.model.content == result.model.content


@pytest.mark.parametrize(
    ("latencies", "integers", "fastest"),
    [
        ({"float": 1.0, "quantized": 0.5, "bfloat16": 0.4, "float16": 0.41}, True, BF16),
        ({"float": 1.0, "quantized": 0.5, "bfloat16": 0.4, "float16": 0.38}, True, F16),
        ({"float": 1.0, "quantized": 0.5, "bfloat16": 0.6, "float16": 0.6}, True, None),  # integers are faster
        ({"float": 1.0, "quantized": 0.5, "bfloat16": 0.6, "float16": 0.6}, False, BF16),  # and lose too much
        ({"float": 1.0, "quantized": 0.5, "bfloat16": 0.99}, False, None),  # no instructions: float32 under its name
        ({"float": 1.0, "quantized": 0.5}, False, None),
    ],
)
def test_16_bits_have_to_be_faster_than_all_that_could_be_handed_over(latencies, integers, fastest):
    times = {name: Measurement(ms, 0.0, 1, "formula", True) for name, ms in latencies.items()}
    assert fastest_half([BF16, F16], times, integers=integers) == fastest


@pytest.mark.parametrize(
    ("within", "floats", "ms", "halves", "tried"),
    [
        (True, (), 0.5, ("bf16",), 0),  # integers everywhere, and they gain
        (True, ("conv",), 0.5, ("bf16",), 1),
        (False, (), 0.5, ("bf16",), 1),
        (True, (), 0.99, ("bf16",), 1),
        (False, (), 0.5, (), 0),  # of a target without
    ],
)
def test_16_bits_are_tried_where_integers_lose_too_much_or_gain_too_little(within, floats, ms, halves, tried):
    scored = []

    def score(network, _):
        scored.append(network)
        return 0.8

    spec = SimpleNamespace(is_accuracy=True, merit=float)
    task = SimpleNamespace(score=score, scored_as=spec, data=SimpleNamespace(search=None))
    run = SimpleNamespace(once=lambda name, compute: compute(), experiment=SimpleNamespace(tolerance=0.3))
    target = SimpleNamespace(halves=halves)
    bench = SimpleNamespace(target=target, task=task, run=run, network=precision_of)
    trial = Trial("U8S8", "minmax", floats, score=0.9, latency_ms=ms)
    choice = Choice(trial, within, (trial,), (), float_score=0.9, float_ms=1.0)
    found = scored_halves(bench, with_precision(empty_file(), "f32"), choice, Silent())
    assert scored == ["bf16"] * tried and [half.within for half in found] == [False] * tried


def empty_file():
    import onnx

    return onnx.helper.make_model(onnx.helper.make_graph([], "none", [], [])).SerializeToString()


def test_openvino_computes_a_file_in_what_it_was_verified_in(finished, monkeypatch):
    openvino = pytest.importorskip("openvino")
    content, hints = (finished[0] / "model.onnx").read_bytes(), []
    compiled = openvino.Core.compile_model

    def compile_model(core, graph, device, options):
        hints.append(options["INFERENCE_PRECISION_HINT"])
        # What is asked for is looked at; whether this processor has it is another matter.
        return compiled(core, graph, device, {**options, "INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    for target in ("openvino", "openvino@f16"):
        get_target(target).caller(content)
        get_target(target).load(with_fixed_batch(content, 1))
    assert hints == ["bf16", "bf16", "f16", "f16"]  # what the user asks for goes before
    with pytest.raises(autoprune.InputError, match="has no precision 'u3'"):
        get_target("openvino").caller(with_precision(content, "u3"))
