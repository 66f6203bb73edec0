"""`dynamic`: exits that are verified on the target, and handed back as what they are; wrong input in a line or two."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader

import autoprune
from autoprune.dynamic_networks.flow import flow_of
from autoprune.early_exit.files import load_network
from autoprune.early_exit.network import DynamicNetwork
from autoprune.errors import BudgetError, InputError, RunError, UnsupportedModelError
from autoprune.evaluation import accuracy
from autoprune.hardware import get_target
from autoprune.models import read_weights
from autoprune.pipeline.jobs.dynamic.methods.registry import METHODS
from autoprune.reports import write_html
from autoprune.run.experiment import Experiment
from autoprune.space import Policy
from tests.early_exit.nets import Skipping
from tests.pipeline.conftest import quarters
from tests.support.exits import TIED, elsewhere, share_of
from tests.support.pages import Page

pytest.importorskip("onnxruntime")
# Chance decides it for a network trained here; tests/early_exit/test_drift.py tests the warning.
pytestmark = pytest.mark.filterwarnings("ignore:the last 200 inputs do not leave")


def deep():
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()]
    for width in (16, 48, 48, 48, 48):
        layers += [nn.Conv2d(width, 48, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(48 * 64, 4))


@pytest.fixture(scope="module")
def network(loaders):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = deep()
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(2):
            for images, labels in loaders["train"]:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
    return model.eval()


# Limits that hold on any machine.
SHARE = share_of(256)  # a split has so many inputs
SETTINGS = {"worst": "1000%", "max_drop": 12.0, "timing": "quick", "exits": 2, "static_episodes": 0}


@pytest.fixture(scope="module", autouse=True)
def _any_gain():
    """How much faster a network with exits is, is the machine's affair."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoprune.pipeline.jobs.dynamic.verification.LEAST_GAIN", -100.0)
        yield


@pytest.fixture(scope="module")
def finished(network, loaders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dynamic") / "run"
    result = autoprune.dynamic(network, **loaders, run=folder, **SETTINGS)
    return folder, result


def test_easy_inputs_leave_within_the_promised_loss(finished):
    _, result = finished
    report = result.report
    assert report["dynamic"] is True
    assert report["search_drop"] <= report["promised_drop"] <= SETTINGS["max_drop"] / 100
    assert sum(each["share"] for each in report["exits"]) == pytest.approx(1)
    paths = [each["path_ms"] for each in report["exits"]]
    expected = sum(each["expected_share"] * each["path_ms"] for each in report["exits"])
    assert report["predicted_mean_latency_ms"] == pytest.approx(expected)
    assert report["worst_latency_ms"] == max(paths) > paths[0]


def test_the_report_says_what_the_network_does_on_the_test_split(finished, loaders):
    _, result = finished
    network = result.model
    assert isinstance(network, DynamicNetwork)
    right, taken = [], []
    with torch.no_grad():
        for images, labels in loaders["test"]:
            logits, exits = network.answers(images)
            right += (logits.argmax(1) == labels).tolist()
            taken += exits.tolist()
    assert result.report["accuracy"] == pytest.approx(np.mean(right), abs=SHARE)
    for number, each in enumerate(result.report["exits"]):
        assert each["share"] == pytest.approx(np.mean([exit_ == number for exit_ in taken]), abs=SHARE)


def test_the_file_and_the_loaded_network_take_the_same_exits(finished, network, loaders):
    folder, result = finished
    images = next(iter(loaders["test"]))[0]
    again = autoprune.load(folder, model=deep())
    with torch.no_grad():
        logits, taken = result.model.answers(images)
        same, alike = again.answers(images)
    assert torch.equal(logits, same)
    assert taken.tolist() == alike.tolist()
    call = get_target("onnxruntime").caller((folder / "model.onnx").read_bytes())
    assert elsewhere([int(call([image[None].numpy()])[1][0]) for image in images], taken.tolist()) <= TIED


def test_the_network_itself_is_not_changed(finished, network, loaders):
    _, result = finished
    images = next(iter(loaders["test"]))[0]
    shut = DynamicNetwork(
        result.model._flow,
        [type(each)(each.place, each.node, 2.0) for each in result.model.exits],
        list(result.model.heads),
        "max",
    )
    with torch.no_grad():
        assert torch.equal(shut(images), network(images))


def test_a_finished_run_is_given_back_and_other_limits_are_refused(finished, network, loaders):
    folder, result = finished
    settings = {**SETTINGS, "run": folder, "resume": True}
    again = autoprune.dynamic(network, **loaders, **settings)
    assert again.report == json.loads(json.dumps(result.report))
    with pytest.raises(RunError, match="max_drop"):
        autoprune.dynamic(network, **loaders, **settings | {"max_drop": 4.0})


def test_a_run_that_is_killed_before_its_report_ends_the_same(finished, network, loaders, tmp_path):
    folder, result = finished
    again = tmp_path / "run"
    shutil.copytree(folder, again)
    (again / "report.json").unlink()
    resumed = autoprune.dynamic(network, **loaders, run=again, **SETTINGS, resume=True)
    assert json.loads(json.dumps(resumed.report)) == json.loads(json.dumps(result.report))
    assert (again / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def anytime(finished, network, loaders, tmp_path_factory):
    """The same network with deadlines; heads and times are the other run's."""
    folder = tmp_path_factory.mktemp("dynamic") / "anytime"
    shutil.copytree(finished[0], folder)
    for name in ("report.json", "exits.json"):
        (folder / name).unlink()
    stored = (folder / "experiment.yaml").read_text()
    (folder / "experiment.yaml").write_text(stored.replace("anytime: false", "anytime: true"))
    journal = json.loads((folder / "checkpoint" / "journal.json").read_text())
    kept = {key: value for key, value in journal.items() if key == "dynamic paths"}
    (folder / "checkpoint" / "journal.json").write_text(json.dumps(kept))
    return folder, autoprune.dynamic(network, **loaders, run=folder, **SETTINGS, anytime=True, resume=True)


def test_every_deadline_has_thresholds_that_keep_it(anytime, loaders):
    folder, result = anytime
    rows = result.report["deadlines"]
    assert [row["place"] for row in rows] == [each["place"] for each in result.report["exits"]]
    assert [row["deadline_ms"] for row in rows] == sorted(row["deadline_ms"] for row in rows)
    loaded = autoprune.load(folder, model=deep())
    images = next(iter(loaders["test"]))[0][:8]
    for deadline in {row["deadline_ms"] for row in rows}:
        last = max(number for number, row in enumerate(rows) if row["deadline_ms"] == deadline)  # noise may equal two
        row, within = rows[last], loaded.within(deadline)
        assert accuracy(within, loaders["test"]) == pytest.approx(row["accuracy"], abs=SHARE)
        taken = within.answers(images)[1]
        assert int(taken.max()) <= last
        assert 0 < row["kept"] <= 1
    with pytest.raises(InputError, match="no exit is within"):
        loaded.within(rows[0]["deadline_ms"] / 2)


def test_without_measured_deadlines_there_are_none(finished):
    with pytest.raises(InputError, match="--anytime"):
        finished[1].model.within(1.0)


def test_where_exits_gain_nothing_the_network_itself_is_handed_back_and_loaded(
    finished, network, loaders, tmp_path, monkeypatch
):
    monkeypatch.setattr("autoprune.pipeline.jobs.dynamic.job.first_that_holds", lambda *_: None)
    shutil.copytree(finished[0], tmp_path / "run")
    for name in ("report.json", "exits.json", "model.onnx", "dense.safetensors"):
        (tmp_path / "run" / name).unlink()
    result = autoprune.dynamic(network, **loaders, run=tmp_path / "run", **SETTINGS, resume=True)
    latency = result.report["dense"]["latency_ms"]
    assert (result.report["mean_latency_ms"], result.report["worst_latency_ms"]) == (latency, latency)
    assert (result.report["exits"], result.report["p95_latency_ms"], result.report["static"]) == ([], None, None)
    assert (result.report["accuracy"], result.report["mean_share"]) == (result.report["dense"]["accuracy"], 1.0)
    assert result.report["dynamic"] is False
    images = next(iter(loaders["test"]))[0]
    with torch.no_grad():
        assert torch.equal(autoprune.load(tmp_path / "run", model=deep())(images), network(images))
        assert torch.equal(result.model(images), network(images))
    for name in ("dense", "finetuned"):  # what bench and export read
        stored = read_weights(tmp_path / "run" / f"{name}.safetensors")
        assert all(torch.equal(stored[key], tensor) for key, tensor in network.state_dict().items())
    assert "the static network stays" in " ".join(Page(write_html(tmp_path / "run")).words)


def test_the_plan_names_the_places_and_writes_nothing(tmp_path, monkeypatch, capsys):
    from autoprune.cli.main import run
    from autoprune.models import save_weights
    from tests.support.tiny_job import network as tiny

    monkeypatch.chdir(tmp_path)
    save_weights(tiny().state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "early.yaml").write_text(
        "model: tests.support.tiny_job:network\ndata: tests.support.tiny_job:loaders\nweights: w.safetensors\n"
        "max_drop: 1.5\ntiming: quick\nexits: 2\n"
    )
    assert run(["dynamic", "early.yaml", "--worst", "130%", "--run", "early", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "static network: about" in said and "24 episodes" in said
    assert "of kind exit" in said and "exits.json" in said and "a loss of at most 1.5 points, longest path 130%" in said
    words = ["dynamic", "early.yaml", "--method", "skip", "--static-episodes", "0", "--run", "early", "--dry-run"]
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "1 of kind block" in said and "gates.json" in said and "exits.json" not in said and "heads" not in said
    assert not (tmp_path / "runs").exists()


def test_the_plan_refuses_a_network_that_the_method_would_refuse():
    task = SimpleNamespace(model=deep().eval(), example=torch.zeros(1, 1, 8, 8), name="plain")
    flow = flow_of(task.model, task.example)
    offers = [METHODS.get(method)().offer(task, Experiment(), flow) for method in ("exits", "switch")]
    assert [(each.kind, each.files) for each in offers] == [("exit", 1 + 2 * offers[0].count), ("width", 4)]
    gate = METHODS.get("gate")().offer(
        task, Experiment(), flow
    )  # of six convolutions three pairs: 1 + 3 * 3 + 10 files
    assert (gate.kind, gate.count, gate.files, gate.paths) == ("channel gate", 3, 20, 11)
    with pytest.raises(UnsupportedModelError, match="no block that could be skipped"):
        METHODS.get("skip")().offer(task, Experiment(), flow)


def quarters_by_name():
    """The data of this module's runs, for commands."""
    parts = (quarters(64, 0), quarters(256, 1), quarters(256, 2))
    return tuple(DataLoader(each, batch_size=64) for each in parts)


@pytest.fixture
def by_name(finished, tmp_path):
    """The same run, of a model and data that commands can make by their names."""
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    settings = yaml.safe_load((folder / "experiment.yaml").read_text())
    settings["settings"]["data"] = f"{__name__}:quarters_by_name"
    (folder / "experiment.yaml").write_text(yaml.safe_dump(settings))
    policy = json.loads((folder / "policy.json").read_text())
    policy["model"]["name"] = f"{__name__}:deep"
    (folder / "policy.json").write_text(json.dumps(policy))
    return folder


def test_a_dynamic_network_is_timed_with_the_inputs_of_its_run(by_name, finished, capsys):
    from autoprune.cli.main import run

    words = ["--targets", "onnxruntime,torch", "--repetitions", "2", "--timing", "quick"]
    assert run(["bench", str(by_name), *words]) == 0
    said, report = capsys.readouterr().out, finished[1].report
    content = json.loads((by_name / "bench.json").read_text())
    assert content["networks"]["dynamic"]["accuracy"] == pytest.approx(report["accuracy"], abs=SHARE)
    assert content["networks"]["dynamic"]["onnx_bytes"] == (by_name / "model.onnx").stat().st_size
    row = content["targets"]["onnxruntime"]
    assert [each["place"] for each in row["paths"]] == [each["place"] for each in report["exits"]]
    for each, known in zip(row["paths"], report["exits"], strict=True):
        assert each["inputs"] / row["inputs"] == pytest.approx(known["share"], abs=SHARE)
        assert abs(each["inputs"] - each["in_torch"]) <= TIED
    assert sum(each["inputs"] for each in row["paths"]) == row["inputs"] == 256
    assert row["dynamic"]["shortest_ms"] < row["dynamic"]["longest_ms"]
    assert row["longest_ratio"] == row["dynamic"]["longest_ms"] / row["dense"]["path_ms"]
    ratios = row["ratio"]["values"]
    assert len(ratios) == 2 and row["ratio"]["least"] == min(ratios)
    assert content["targets"]["torch"]["available"] and "still computed" in content["targets"]["torch"]["reason"]
    assert "dynamic ms" in said and "longest path" in said and "torch: what an input does not need" in said
    assert "Dense against dynamic" in Page(by_name / "bench.html").text


def test_what_bench_refuses_of_a_dynamic_network_is_said_in_a_line(finished, by_name, capsys):
    from autoprune.cli.main import run

    for folder, words, said in (
        (finished[0], [], "handed over in Python; `autoprune report"),
        (by_name, ["--target-batch", "4"], "each input takes its own path"),
        (by_name, ["--targets", "torch"], "still computed on the target torch"),
    ):
        assert run(["bench", str(folder), "--targets", "onnxruntime", *words]) == 2
        heard = capsys.readouterr().err.strip()
        assert said in heard and heard.count("\n") < 2
    (by_name / "report.json").unlink()
    assert run(["bench", str(by_name), "--targets", "onnxruntime"]) == 2
    assert "holds no report.json; the run is not finished" in capsys.readouterr().err


@pytest.mark.slow
def test_exits_are_verified_on_openvino_too(network, loaders, tmp_path):
    pytest.importorskip("openvino")
    run = tmp_path / "run"
    result = autoprune.dynamic(network, **loaders, run=run, **SETTINGS | {"worst": "300%"}, target="openvino")
    assert result.report["target"] == "openvino" and result.report["dynamic"] is True
    assert result.report["mean_share"] < 0.97
    call = get_target("openvino").caller((run / "model.onnx").read_bytes())
    images = next(iter(loaders["test"]))[0][:16]
    taken = result.model.answers(images)[1].tolist()
    assert elsewhere([int(call([image[None].numpy()])[1][0]) for image in images], list(taken)) <= TIED


@pytest.mark.slow
def test_a_static_network_of_the_same_mean_is_found_beside_it(network, loaders, tmp_path):
    """Whichever of the two gets more of the search split right is handed over, and loaded."""
    wanted = SETTINGS | {"static_episodes": 4, "static_epochs": 1}
    result = autoprune.dynamic(network, **loaders, run=tmp_path / "run", **wanted)
    report, static = result.report, result.report["static"]
    timed = report.get("candidate", report)
    assert static["latency_share"] <= timed["mean_share"] * 1.02
    with_exits = accuracy(network, loaders["search"]) - timed["search_drop"]
    assert report["dynamic"] is (static["search_accuracy"] <= with_exits + 1e-9)
    loaded = autoprune.load(tmp_path / "run", model=deep())
    assert isinstance(loaded, DynamicNetwork) is report["dynamic"]
    assert accuracy(loaded, loaders["test"]) == pytest.approx(report["accuracy"], abs=SHARE)
    (tmp_path / "run" / "report.json").unlink()
    again = autoprune.dynamic(network, **loaders, run=tmp_path / "run", resume=True, **wanted)
    assert again.report == json.loads(json.dumps(report))


@pytest.mark.parametrize("better", [True, False])
def test_the_more_accurate_of_the_two_is_handed_over(better, finished, network, loaders, tmp_path, monkeypatch):
    folder, result = finished
    again = tmp_path / "run"
    shutil.copytree(folder, again)
    for name in ("report.json", "exits.json"):
        (again / name).unlink()
    with_exits = accuracy(network, loaders["search"]) - result.report["search_drop"]
    found = {"search_accuracy": with_exits + (0.01 if better else -0.01), "accuracy": 0.5}
    found |= {"latency_ms": 1.0, "latency_share": 0.5}
    monkeypatch.setattr("autoprune.pipeline.jobs.dynamic.job.static_beside", lambda *_: found)
    small = nn.Linear(2, 2)
    monkeypatch.setattr(
        "autoprune.pipeline.jobs.dynamic.job.take_over", lambda *_: (small, Policy(model={}, choices={"conv": 3}))
    )
    handed = autoprune.dynamic(network, **loaders, run=again, **SETTINGS, resume=True)
    latency = handed.report["dense"]["latency_ms"]
    assert handed.report["static"] == found
    assert handed.report["dynamic"] is not better
    assert (handed.model is small) is better
    assert (again / "exits.json").exists() is not better
    figures = {name: handed.report.get(name) for name in ("accuracy", "mean_share", "p95_latency_ms")}
    timed = {name: result.report[name] for name in figures}
    assert figures == ({"accuracy": 0.5, "mean_share": 0.5, "p95_latency_ms": None} if better else timed)
    if better:
        assert handed.report["mean_latency_ms"] == handed.report["worst_latency_ms"] == 0.5 * latency
        assert {name: handed.report["candidate"][name] for name in timed} == timed
    said = " ".join(Page(write_html(again)).words)
    assert ("the static network is kept" in said) is better
    assert ("What is handed over" in said) is better


def test_an_edited_threshold_is_named_with_its_file(finished, tmp_path):
    folder, _ = finished
    for name in ("network.safetensors", "exit_heads.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    content = json.loads((folder / "exits.json").read_text())
    content["exits"][0]["threshold"] = -1
    (tmp_path / "exits.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"exits\.json: the threshold at"):
        load_network(deep(), torch.zeros(1, 1, 8, 8), tmp_path)


def test_a_mean_below_the_first_exit_is_refused_before_training(network, loaders, tmp_path):
    few = nn.Sequential(*list(network)[:2], nn.Conv2d(16, 48, 1), *list(network)[-2:])
    with pytest.raises(BudgetError, match="the first exit alone takes"):
        autoprune.dynamic(few, **loaders, run=tmp_path / "run", mean_latency="0.00001ms", worst="200%", timing="quick")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mean_latency": "fast"}, "mean_latency: write a share"),
        ({"worst": "-5%"}, "worst: write a share"),
        ({"max_drop": -1.0}, "max_drop: "),
        ({"exits": 9}, "exits: "),
        ({"target": "torch"}, "is still computed on the target torch"),
        ({"target": "openvino@bf16"}, "thresholds are chosen on answers in float32; name the target openvino without"),
        ({"latency": "50%"}, "no such budget"),
        ({"anytime": True, "mean_latency": "60%"}, "anytime: every call has a deadline of its own"),
        ({"target_batch": 8}, "target_batch"),
    ],
)
def test_wrong_wishes_are_named_in_a_line(settings, words, loaders, tmp_path):
    with pytest.raises(InputError, match=words) as caught:
        autoprune.dynamic(deep(), **loaders, run=tmp_path / "run", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_network_that_cannot_be_left_is_refused(loaders, tmp_path):
    with pytest.raises(UnsupportedModelError, match="what relu computes"):
        autoprune.dynamic(Skipping(), **loaders, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_file_is_exported_and_what_there_is_not_is_said(finished, tmp_path, capsys):
    from autoprune.cli.main import run

    folder, _ = finished
    assert run(["export", str(folder), "--format", "onnx", "--out", str(tmp_path / "early.onnx")]) == 0
    assert (tmp_path / "early.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    capsys.readouterr()
    assert run(["export", str(folder), "--format", "pt2", "--out", str(tmp_path / "early.pt2")]) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") < 2
    assert "dynamic network" in said
    assert not (tmp_path / "early.pt2").exists()


def test_the_report_command_writes_the_page(finished, capsys):
    from autoprune.cli.main import run

    folder, result = finished
    (folder / "report.html").unlink(missing_ok=True)
    assert run(["report", str(folder)]) == 0
    page = Page(folder / "report.html")
    for each in result.report["exits"]:
        assert each["place"] in page.text
        assert f"{each['share']:.1%}".replace("%", "") in page.text
    assert len(page.pictures) == 4  # curves, classes, reliability, easy and hard images
    assert "promised at most" in capsys.readouterr().out
    damaged = json.loads((folder / "report.json").read_text())
    whole = (folder / "report.json").read_text()
    del damaged["exits"]
    (folder / "report.json").write_text(json.dumps(damaged))
    assert run(["report", str(folder)]) == 2
    assert "no report of dynamic: KeyError('exits')" in capsys.readouterr().err
    (folder / "report.json").write_text(whole)


def test_the_curves_are_what_their_thresholds_do(finished, network, loaders):
    _, result = finished
    report, dynamic = result.report, result.model
    paths = np.array([each["path_ms"] for each in report["exits"]])
    worst, shut = report["curves"]["uniform"][0], report["curves"]["uniform"][-1]
    assert worst["mean_ms"] == pytest.approx(paths[0])  # a threshold of 0: all leave at the first exit
    heads = []
    for number in range(len(paths)):
        places = [
            type(each)(each.place, each.node, 0.0 if k == number else 2.0) for k, each in enumerate(dynamic.exits)
        ]
        forced = DynamicNetwork(dynamic._flow, places, list(dynamic.heads), dynamic.confidence).eval()
        with torch.no_grad():
            right = [(forced(images).argmax(1) == labels).float() for images, labels in loaders["test"]]
        heads.append(float(torch.cat(right).mean()))
    assert worst["accuracy"] == pytest.approx(heads[0])
    assert shut["mean_ms"] > paths[0]
    for solved, random in zip(report["curves"]["solved"], report["curves"]["random"], strict=True):
        assert random["mean_ms"] == solved["mean_ms"]
        assert min(heads) - 1e-9 <= random["accuracy"] <= max(heads) + 1e-9
    means = [each["mean_ms"] for each in report["curves"]["solved"]]
    assert len(means) > 1
    assert means[-1] <= means[0]


def test_classes_bins_and_changed_inputs_add_up(finished, loaders):
    report = finished[1].report
    labels = torch.cat([each for _, each in loaders["test"]]).numpy()
    weights = np.bincount(labels) / len(labels)
    shares = np.array([row["shares"] for row in report["exits_by_class"]])
    assert weights[np.unique(labels)] @ shares == pytest.approx([each["share"] for each in report["exits"]], abs=SHARE)
    for bins in report["reliability"]:
        assert sum(each["inputs"] for each in bins) == len(labels)
    plain, *changed = report["shift"]
    assert plain["inputs"] == "as they are"
    assert plain["dense_accuracy"] - plain["accuracy"] == pytest.approx(report["search_drop"], abs=SHARE)
    assert [sum(each["shares"]) for each in changed] == pytest.approx([1.0] * 3)
    assert [each["which"] for each in report["extremes"]] == ["easiest"] * 6 + ["hardest"] * 6
    assert {each["place"] for each in report["extremes"]} <= {each["place"] for each in report["exits"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mean-latency", "soon"], "mean_latency: write a share"),
        (["--max-drop", "120"], "max_drop: "),
        (["--target", "torch"], "is still computed on the target torch"),
    ],
)
def test_the_command_refuses_in_a_line(words, said, tmp_path, monkeypatch, capsys):
    from autoprune.cli.main import run

    monkeypatch.chdir(tmp_path)
    assert run(["dynamic", "--model", "resnet20", "--run", "early", *words]) == 2
    found = capsys.readouterr().err.strip()
    assert said in found
    assert "\n" not in found
    assert not (tmp_path / "runs").exists()
