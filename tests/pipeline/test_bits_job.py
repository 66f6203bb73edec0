"""`--kinds bits` as a job: what is searched is what the file computes, and what cannot be is refused first."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

import autoprune
from autoprune.errors import InputError
from autoprune.evaluation import accuracy
from autoprune.export.onnx_network import OnnxNetwork
from autoprune.hardware import get_target
from autoprune.pipeline.bench.compare import bench_subject
from autoprune.pipeline.bench.subject import subject_of_run
from autoprune.pipeline.load import export_run, handed_over
from autoprune.pipeline.reporter import Silent
from autoprune.quantization.rounding import integer_layers
from autoprune.space import Policy
from tests.support import tiny_job
from tests.support.tiny_job import network as tiny

pytest.importorskip("onnxruntime")
BY_BYTES = "tests.support.targets.integers:ByBytes"
SHORT = {
    "timing": "quick",
    "train_threads": 1,
    "agent": "random",
    "episodes": 4,
    "finalists": 1,
    "seed": 0,
    "train_epochs": 1,
}

JOB = SHORT | {"target": BY_BYTES, "kinds": "channels,bits", "budget": "bytes<=25%", "finetune_epochs": 1}


@pytest.fixture(scope="module")
def loaders():
    """What the named data are made of, so that commands can score the run, too."""
    return dict(zip(("train", "search", "test"), tiny_job.loaders(), strict=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bits") / "run"
    named = {"model": "tests.support.tiny_job:network", "data": "tests.support.tiny_job:loaders"}
    return folder, autoprune.compress(**named, run=folder, **JOB)


def test_the_file_has_integers_in_the_layers_that_the_policy_names(finished):
    folder, result = finished
    policy = Policy.load(folder / "policy.json")
    chosen = {name for part in policy.further for name, bits in part.choices.items() if bits == 8}
    report = result.report["integers"]
    assert chosen and report["of"] == 5 and len(report["layers"]) >= len(chosen)
    nodes = onnx.load(folder / "model.onnx").graph.node
    weights = [n for n in nodes if n.op_type == "DequantizeLinear" and n.output[0].endswith("_weight")]
    assert len(weights) == len(report["layers"])
    assert result.report["budget"]["met"] and report["bytes"] == (folder / "model.onnx").stat().st_size


def test_the_report_scores_the_file_that_is_handed_over(finished, loaders, tmp_path):
    folder, result = finished
    assert isinstance(result.model, OnnxNetwork)
    assert result.model.content == (folder / "model.onnx").read_bytes()
    assert result.report["finetuned"]["accuracy"] == pytest.approx(accuracy(result.model, loaders["test"]))
    again = handed_over(folder)  # what a finished run gives back when it is gone on with
    assert isinstance(again, OnnxNetwork) and again.content == result.model.content
    export_run(folder, "onnx", tmp_path / "copy.onnx")
    assert (tmp_path / "copy.onnx").read_bytes() == result.model.content
    with pytest.raises(InputError, match="integers is written as onnx"):
        export_run(folder, "pt2", tmp_path / "copy.pt2")


def test_bench_scores_the_file_that_the_report_scores(finished):
    folder, result = finished
    subject = subject_of_run(folder)
    assert subject.delivered.content == result.model.content

    def scores(of):
        found = bench_subject(of, [get_target(BY_BYTES)], 1, Silent(), "quick")["networks"]
        return [found[name]["accuracy"] for name in ("dense", "pruned")]

    assert scores(subject) == pytest.approx([result.report[name]["accuracy"] for name in ("dense", "finetuned")])
    which = replace(subject, evaluate=lambda network, batches: float(network is subject.delivered))
    assert scores(which) == [0.0, 1.0]


def test_a_run_is_loaded_as_a_network_that_rounds_as_its_file(finished, loaders):
    folder, result = finished
    network = autoprune.load(folder, model=tiny())
    assert sorted(integer_layers(network)) == sorted(result.report["integers"]["layers"])
    images = next(iter(loaders["test"]))[0]
    with torch.no_grad():
        ours, theirs = network(images).numpy(), result.model(images).numpy()
    assert np.abs(ours - theirs).max() < 0.1 * np.ptp(theirs)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"target": "torch", "latency": "50%"}, "no integer kernels"),
        ({"target": "onnxruntime@int8", "latency": "50%"}, "leave the precision out"),
        ({"target": "onnxruntime", "flops": "50%"}, "save latency and bytes"),
    ],
)
def test_what_bits_cannot_serve_is_refused_before_anything_is_written(loaders, tmp_path, settings, reason):
    with pytest.raises(InputError, match=reason):
        autoprune.compress(tiny(), **loaders, run=tmp_path / "run", **SHORT | {"kinds": "channels,bits"} | settings)
    assert not (tmp_path / "run").exists()
