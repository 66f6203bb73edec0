"""`quantize`: types and layers by measurement, one file for both runtimes, float32 where integers do not pay."""

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import InputError, RunError, UnsupportedModelError
from autoprune.evaluation import accuracy
from autoprune.export.onnx_network import OnnxNetwork, opened_file
from autoprune.hardware import get_target
from autoprune.models import save_weights
from autoprune.pipeline.bench.subject import subject_of_run
from autoprune.reports import write_html
from tests.support.pages import Page
from tests.support.tiny_job import network as tiny

pytest.importorskip("onnxruntime")
BY_BYTES = "tests.support.targets.integers:ByBytes"
QUICK = {"timing": "quick", "train_threads": 1, "target": BY_BYTES}


class Wide(nn.Module):
    """Layers that are large enough for integers to be faster wherever there are instructions for them."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
        )
        self.fc = nn.Linear(64 * 64, 4)

    def forward(self, x):
        return self.fc(self.body(x).flatten(1))


@pytest.fixture(scope="module")
def wide(loaders):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Wide()
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for images, labels in loaders["train"]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def finished(wide, loaders, tmp_path_factory):
    """On the machine itself."""
    folder = tmp_path_factory.mktemp("quantize") / "run"
    return folder, autoprune.quantize(wide, **loaders, run=folder, tolerance=3.0, **QUICK | {"target": "onnxruntime"})


def test_the_report_has_both_networks_types_and_layers(finished, loaders, wide):
    folder, result = finished
    report = result.report
    assert json.loads((folder / "report.json").read_text()) == report
    assert [row["name"] for row in report["layers"]] == ["body.0", "body.3", "body.5", "fc"]
    for row in report["layers"]:
        assert row["range"][0] <= 0 <= row["range"][1] and 0 < row["error"] < 0.2
        assert row["gain"] == pytest.approx(row["latency_float_ms"] - row["latency_int8_ms"])
    assert {row["types"] for row in report["tried_types"]} == {"U8S8", "U8S8 reduced", "S8S8", "U8U8"}
    for name in ("dense", "float", "quantized"):
        assert {"accuracy", "latency_ms", "params", "zeros", "bytes"} <= report[name].keys()
    assert report["quantized"]["bytes"] < 0.3 * report["dense"]["bytes"]
    assert report["dense"]["accuracy"] == pytest.approx(accuracy(wide, loaders["test"], bf16=False))


def test_the_fastest_types_within_the_tolerance_are_taken(finished):
    report = finished[1].report
    allowed = [r for r in report["tried_types"] if report["search"]["float"] - r["score"] <= 0.03 + 1e-9]
    least = min(row["latency_ms"] for row in allowed)
    taken = next(row for row in report["tried_types"] if row["types"] == report["types"])
    assert taken in allowed and taken["latency_ms"] <= 1.02 * least


def test_what_is_handed_over_is_the_faster_file(finished, loaders):
    folder, result = finished
    report = result.report
    pays = report["quantized"]["latency_ms"] <= 0.98 * report["float"]["latency_ms"]
    assert report["handed_over"] == ("int8" if pays else "float32") and (report["reason"] is None) == pays
    file = (folder / "model.onnx").read_bytes()
    assert (file == (folder / "quantized.onnx").read_bytes()) == pays
    assert isinstance(result.model, OnnxNetwork) and result.model.content == file
    score = accuracy(OnnxNetwork((folder / "quantized.onnx").read_bytes()), loaders["test"])
    assert report["quantized"]["accuracy"] == pytest.approx(score)


def test_both_runtimes_take_the_one_file(finished, loaders):
    images = next(iter(loaders["test"]))[0].numpy()
    file = (finished[0] / "quantized.onnx").read_bytes()
    ours = opened_file(file)([images])[0]
    target = get_target("openvino")
    if target.available():
        pytest.skip(target.available())
    theirs = target.caller(file)([images])[0]
    assert (ours.argmax(1) == theirs.argmax(1)).mean() > 0.97
    assert np.abs(ours - theirs).max() < 0.1 * np.abs(ours).max()


def test_a_finished_run_loads_exports_benches_and_has_a_page(finished, wide, tmp_path, loaders):
    folder, result = finished
    images = next(iter(loaders["test"]))[0]
    assert torch.equal(autoprune.load(folder)(images), result.model(images))
    from autoprune.pipeline.load import export_run

    export_run(folder, "onnx", tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    with pytest.raises(InputError, match="a quantized network is written as onnx, not as safetensors"):
        export_run(folder, "safetensors", tmp_path / "out.safetensors")
    page = Page(write_html(folder))
    assert {"body.3", "U8S8"} <= {cell for rows in page.tables for row in rows for cell in row}
    again = autoprune.quantize(
        wide, **loaders, run=folder, tolerance=3.0, resume=True, **QUICK | {"target": "onnxruntime"}
    )
    assert again.report == result.report


def test_a_quantized_run_is_compared_by_what_it_hands_over(finished):
    from autoprune.reports.compare import read_runs

    folder, result = finished
    (seen,) = read_runs([folder]).values()
    last = "quantized" if result.report["handed_over"] == "int8" else "float"
    assert seen.finetuned.latency_ms == result.report[last]["latency_ms"]
    assert seen.dense.accuracy == result.report["dense"]["accuracy"]
    assert seen.agent == f"quantize: {result.report['handed_over']}"


def test_a_run_that_was_only_searched_says_how_it_goes_on(tmp_path):
    from autoprune.pipeline.jobs.quantize.settings import named_subject
    from autoprune.run.directory import RunDir
    from autoprune.run.experiment import Experiment

    run = RunDir(tmp_path / "run", Experiment.build({"flops": "50%", "run": str(tmp_path / "run")}))
    run.close()
    with pytest.raises(RunError, match="go on with --resume"):
        named_subject(str(run.path))
    run.file("policy.json").write_text("{}")
    with pytest.raises(RunError, match="autoprune finetune"):
        named_subject(str(run.path))


class Reordered(nn.Module):
    """A layer whose file has a product where the graph has none: it cannot be trained with integers."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 8, 3, padding=1)
        self.table = nn.Parameter(torch.randn(8 * 64, 4))

    def forward(self, x):
        return torch.relu(self.body(x)).flatten(1) @ self.table


def test_what_cannot_be_trained_with_integers_is_refused_before_types_are_tried(loaders, tmp_path, monkeypatch):
    from autoprune.pipeline.jobs.quantize import job

    monkeypatch.setattr(job, "chosen", lambda *_: pytest.fail("types were tried"))
    with pytest.raises(UnsupportedModelError, match="cannot be trained with integers"):
        autoprune.quantize(Reordered().eval(), **loaders, run=tmp_path / "run", qat=True, **QUICK)


def test_a_run_is_quantized_with_what_was_pruned_beside_it(tmp_path, monkeypatch, capsys):
    from autoprune.cli.main import run

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_weights(tiny().state_dict(), tmp_path / "dense.safetensors")
    job = ["--model", "tests.support.tiny_job:network", "--data", "tests.support.tiny_job:loaders",
           "--weights", "dense.safetensors", "--train-threads", "1"]  # fmt: skip
    assert run(["compress", *job, "--target", "tests.support.tiny_job:Formula", "--flops", "60%", "--agent", "uniform",
                "--episodes", "2", "--finalists", "1", "--finetune-epochs", "1", "--run", "pruned"]) == 0  # fmt: skip
    quick = ["--target", BY_BYTES, "--timing", "quick", "--tolerance", "50", "--train-threads", "1"]
    assert run(["quantize", "runs/pruned", *quick, "--run", "int8"]) == 0
    report = json.loads((tmp_path / "runs/int8/report.json").read_text())
    assert report["float"]["params"] < report["dense"]["params"]
    assert (
        report["float"]["accuracy"]
        == json.loads((tmp_path / "runs/pruned/report.json").read_text())["finetuned"]["accuracy"]
    )
    assert "dense" in capsys.readouterr().out
    assert (tmp_path / "runs/int8/policy.json").read_text() == (tmp_path / "runs/pruned/policy.json").read_text()
    small, dense = subject_of_run(tmp_path / "runs/int8", scored=False).small, subject_of_run(tmp_path / "runs/int8")
    assert isinstance(small, OnnxNetwork) and not isinstance(dense.dense, OnnxNetwork)
    with pytest.raises(InputError, match="is quantized already"):
        autoprune.quantize("runs/int8", **QUICK)
    assert run(["quantize", "runs/pruned", "--dry-run", *quick, "--run", "planned"]) == 0
    assert "calibrate" in capsys.readouterr().out and not (tmp_path / "runs/planned").exists()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"target": "torch"},
            "the target torch has no integer kernels that autoprune writes files for; use onnxruntime",
        ),
        ({"types": "U4S4"}, "unknown types 'U4S4'"),
        ({"latency": "50%"}, "quantize has no budget; --tolerance says what accuracy may be lost"),
        ({"tolerance": -1}, "tolerance: .*greater than or equal to 0"),
        ({"ranges": "guess"}, "ranges: "),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(keywords, message, wide, loaders, tmp_path):
    with pytest.raises(InputError, match=message) as raised:
        autoprune.quantize(wide, **loaders, run=tmp_path / "run", **QUICK | keywords)
    assert len(str(raised.value).splitlines()) <= 2 and not (tmp_path / "run").exists()


def test_calibration_images_of_one_class_are_refused(wide, loaders, tmp_path):
    images, labels = next(iter(loaders["train"]))
    of_one = [(images[labels == 1], labels[labels == 1])]
    with pytest.raises(InputError, match="calibration images of loaders are all of class 1"):
        autoprune.quantize(
            wide, train=of_one, search=loaders["search"], test=loaders["test"], run=tmp_path / "r", **QUICK
        )


def test_a_network_without_weights_and_a_folder_without_a_run_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no trained weights"):
        autoprune.quantize("tests.support.tiny_job:network", data="tests.support.tiny_job:loaders", **QUICK)
    from autoprune.cli.main import run

    assert run(["quantize", "empty"]) == 2
    with pytest.raises(RunError):
        from autoprune.pipeline.jobs.quantize.settings import named_subject

        named_subject("runs/none")


class Outlier(nn.Module):
    """One weight of a layer is so large that its scale loses all others."""

    def __init__(self, trained):
        super().__init__()
        self.trained = trained
        with torch.no_grad():
            self.trained.fc.weight[:, 0] = 0.0
            self.trained.fc.weight[0, 0] = 4000.0

    def forward(self, x):
        features = self.trained.body(x).flatten(1)
        return self.trained.fc(torch.cat([0 * features[:, :1], features[:, 1:]], 1))


def test_the_layer_that_costs_most_goes_back_to_float32(wide, loaders, tmp_path):
    import copy

    broken = Outlier(copy.deepcopy(wide)).eval()
    result = autoprune.quantize(broken, **loaders, run=tmp_path / "r", tolerance=3.0, scales="tensor", **QUICK)
    report = result.report
    assert report["search"]["within"] and report["float_layers"] == 1
    assert [row["type"] for row in report["layers"]][-1] == "float32"
    assert max(report["layers"], key=lambda row: row["error"])["name"] == "trained.fc"
    assert all(report["search"]["float"] - row["score"] > 0.03 for row in report["tried_types"])


def test_float32_is_handed_over_where_integers_are_slower(wide, loaders, tmp_path):
    keywords = QUICK | {"target": "tests.support.targets.integers:Slow", "types": "U8S8"}
    result = autoprune.quantize(wide, **loaders, run=tmp_path / "r", tolerance=3.0, **keywords)
    assert result.report["handed_over"] == "float32"
    assert result.report["reason"] == "integers are not faster here: 1 ms, float32 0.5 ms"
    images = next(iter(loaders["test"]))[0]
    with torch.no_grad():
        assert torch.allclose(result.model(images), wide(images), atol=1e-4)
    assert result.report["speedup"] == 0.5 and [row["types"] for row in result.report["tried_types"]] == ["U8S8"]


def of_each_four(weight, n):
    """The n largest of every four inputs, as N:M has them: True where a weight stays."""
    blocks = weight.abs().unflatten(1, (-1, 4))
    return (blocks.argsort(2, descending=True).argsort(2) < n).flatten(1, 2)


def test_training_with_integers_returns_what_rounding_took_and_a_pattern_of_2_in_4_stays(trained, loaders, tmp_path):
    import copy

    network = copy.deepcopy(trained)
    with torch.no_grad():  # the same function, but weights of one input are so large that their scale loses the others
        network.bn1.weight[3] /= 300
        network.bn1.bias[3] /= 300
        network.conv2.weight[:, 3] *= 300
        kept = of_each_four(network.conv3.weight, 2)
        network.conv3.weight *= kept
    keywords = QUICK | {"scales": "tensor", "types": "U8S8", "ranges": "minmax", "finetune_epochs": 4, "qat": True}
    report = (result := autoprune.quantize(network, **loaders, run=tmp_path / "r", tolerance=99.0, **keywords)).report
    whole, before, after = report["search"]["float"], report["qat"]["before"], report["qat"]["after"]
    assert whole - before > 0.2 and after - before >= (whole - before) / 2 and report["qat"]["kept"]
    assert report["search"]["quantized"] == after
    stored = onnx.load_from_string(result.model.content).graph.initializer
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in stored if tensor.name.endswith("_weight_q")]
    (weight,) = [value for value in weights if value.shape == (16, 16, 3, 3)]
    assert (weight[~kept.numpy()] == 0).all() and (weight[kept.numpy()] != 0).mean() > 0.9
    (tmp_path / "r" / "report.json").unlink()
    again = autoprune.quantize(network, **loaders, run=tmp_path / "r", tolerance=99.0, resume=True, **keywords)
    assert again.report["qat"] == report["qat"] and again.model.content == result.model.content
