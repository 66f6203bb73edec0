"""`dynamic --method switch | ...`: what is handed over is what the report says, dynamic or not."""

import json
import shutil

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import autoprune
from autoprune.errors import InputError, UnsupportedModelError
from autoprune.evaluation import accuracy
from autoprune.hardware import get_target
from autoprune.pipeline.jobs.dynamic.methods.switch import WithWidths
from autoprune.reports import write_html
from autoprune.switching.network import SwitchNetwork
from tests.support.exits import TIED, elsewhere, share_of
from tests.support.pages import Page
from tests.support.routing import paths_as_the_file
from tests.support.tiny_job import images

pytest.importorskip("onnxruntime")
# Chance decides it for a network trained here; tests/early_exit/test_drift.py tests the warning.
pytestmark = pytest.mark.filterwarnings("ignore:the last 200 inputs do not leave")

SETTINGS = {"worst": "200%", "max_drop": 20.0, "timing": "quick", "static_episodes": 0, "dynamic_epochs": 1}


def net():
    layers, before = [], 1
    for width in (16, 16, 48, 48, 48):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(48 * 64, 4))


@pytest.fixture(scope="module")
def data():
    parts = {"train": images(256, 0), "search": images(200, 1), "test": images(128, 2)}
    return {name: DataLoader(part, batch_size=64, shuffle=name == "train") for name, part in parts.items()}


@pytest.fixture(scope="module")
def trained(data):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(3):
            for pixels, labels in data["train"]:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(pixels), labels).backward()
                optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def switched(trained, data, tmp_path_factory):
    """A run that may not leave its gate out."""
    folder = tmp_path_factory.mktemp("switch") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WithWidths, "fixed", lambda *_: None)
        return folder, autoprune.dynamic(trained, **data, run=folder, method="switch", **SETTINGS)


@pytest.mark.slow
def test_the_report_says_what_the_network_of_several_widths_does(switched, trained, data):
    folder, result = switched
    report, network = result.report, result.model
    assert report["dynamic"] is True and isinstance(network, SwitchNetwork)
    taken, right = [], []
    with torch.no_grad():
        for pixels, labels in data["test"]:
            logits, widths = network.answers(pixels)
            taken += widths.tolist()
            right += (logits.argmax(1) == labels).tolist()
    assert report["accuracy"] == pytest.approx(sum(right) / len(right), abs=share_of(len(right)))
    for number, each in enumerate(report["exits"]):
        assert each["share"] == pytest.approx(taken.count(number) / len(taken), abs=share_of(len(taken)))
    assert report["search_drop"] <= report["promised_drop"] <= 0.2
    assert report["widths"][-1]["accuracy"] == pytest.approx(accuracy(trained, data["test"]))
    page = Page(write_html(folder))
    assert "width 25%" in page.text


@pytest.mark.slow
def test_the_file_and_the_loaded_network_take_the_same_widths(switched, data):
    folder, result = switched
    pixels = next(iter(data["test"]))[0]
    loaded = autoprune.load(folder, model=net())
    with torch.no_grad():
        logits, taken = result.model.answers(pixels)
        again, same = loaded.answers(pixels)
    assert torch.equal(logits, again) and torch.equal(taken, same)
    call = get_target("onnxruntime").caller((folder / "model.onnx").read_bytes())
    assert elsewhere([int(call([each[None].numpy()])[1][0]) for each in pixels], taken.tolist()) <= TIED
    paths_as_the_file(folder / "stages", (folder / "model.onnx").read_bytes(), pixels)


@pytest.mark.slow
def test_the_whole_width_is_the_dense_network(switched, trained, data):
    network = switched[1].model
    pixels = next(iter(data["test"]))[0]
    shut = [type(each)(each.name, each.tail, 2.0) for each in network.widths]
    with torch.no_grad():
        whole = SwitchNetwork(network._flow, network.node, network.gate, shut).eval()(pixels)
        assert torch.equal(whole, trained(pixels))


@pytest.mark.slow
def test_a_run_that_is_killed_before_its_report_ends_the_same(switched, trained, data, tmp_path, monkeypatch):
    folder, result = switched
    monkeypatch.setattr(WithWidths, "fixed", lambda *_: None)
    again = tmp_path / "run"
    shutil.copytree(folder, again)
    (again / "report.json").unlink()
    resumed = autoprune.dynamic(trained, **data, run=again, method="switch", **SETTINGS, resume=True)
    assert json.loads(json.dumps(resumed.report)) == json.loads(json.dumps(result.report))
    assert (again / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


@pytest.mark.slow
def test_a_width_that_does_as_well_alone_is_handed_over_without_a_gate(switched, trained, data, tmp_path):
    again = tmp_path / "run"
    shutil.copytree(switched[0], again)
    for name in ("report.json", "switch.json", "model.onnx"):
        (again / name).unlink()
    result = autoprune.dynamic(trained, **data, run=again, method="switch", **SETTINGS, resume=True)
    if result.report["dynamic"]:  # here no width alone is as good: the gate is worth its time
        pytest.skip("the gate chose better than any width alone")
    loaded = autoprune.load(again, model=net())
    assert not isinstance(loaded, SwitchNetwork)
    fixed, report = result.report["fixed"], result.report
    assert (report["accuracy"], report["mean_share"]) == (fixed["accuracy"], fixed["latency_share"])
    assert fixed["accuracy"] == pytest.approx(accuracy(loaded, data["test"]), abs=share_of(len(data["test"].dataset)))
    assert sum(each.numel() for each in loaded.parameters()) < sum(each.numel() for each in trained.parameters())
    assert f"{fixed['name']} alone is kept" in " ".join(Page(write_html(again)).words)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.n, self.m = (nn.BatchNorm2d(width) for _ in range(2))

    def forward(self, x):
        return torch.relu(x + self.m(self.b(torch.relu(self.n(self.a(x))))))


def residual_net():
    stem = (nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
    return nn.Sequential(*stem, Residual(32), Residual(32), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 4))


@pytest.fixture(scope="module")
def skipped(data, tmp_path_factory):
    """A run whose promise is so wide that the fastest threshold is taken, whatever the training comes to."""
    torch.manual_seed(0)
    model = residual_net().eval()
    folder = tmp_path_factory.mktemp("skip") / "run"
    settings = SETTINGS | {"max_drop": 99.0, "worst": "400%"}
    return folder, model, autoprune.dynamic(model, **data, run=folder, method="skip", **settings)


@pytest.mark.slow
def test_what_is_handed_over_of_a_network_with_gates_is_what_the_report_says(skipped, data):
    folder, model, result = skipped
    loaded = autoprune.load(folder, model=residual_net())
    assert [block["name"] for block in result.report["blocks"]] == ["3", "4"]
    if not result.report["dynamic"]:  # all inputs take one path at every threshold: nothing is gained
        assert accuracy(loaded, data["test"]) == pytest.approx(accuracy(model, data["test"]))
        return
    pixels = next(iter(data["test"]))[0]
    with torch.no_grad():
        logits, taken = result.model.answers(pixels)
        again, same = loaded.answers(pixels)
    assert torch.equal(logits, again) and torch.equal(taken, same)
    call = get_target("onnxruntime").caller((folder / "model.onnx").read_bytes())
    assert elsewhere([int(call([each[None].numpy()])[1][0]) for each in pixels], taken.tolist()) <= TIED
    paths_as_the_file(folder / "stages", (folder / "model.onnx").read_bytes(), pixels)
    assert accuracy(loaded, data["test"]) == pytest.approx(
        result.report["accuracy"], abs=share_of(len(data["test"].dataset))
    )
    assert sum(each["share"] for each in result.report["exits"]) == pytest.approx(1)
    assert "its gate pays from" in Page(write_html(folder)).text


@pytest.mark.slow
def test_a_run_with_gates_that_is_killed_ends_the_same(skipped, data, tmp_path):
    folder, model, result = skipped
    again = tmp_path / "run"
    shutil.copytree(folder, again)
    (again / "report.json").unlink()
    settings = SETTINGS | {"max_drop": 99.0, "worst": "400%"}
    resumed = autoprune.dynamic(model, **data, run=again, method="skip", **settings, resume=True)
    assert json.loads(json.dumps(resumed.report)) == json.loads(json.dumps(result.report))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "magic"}, "magic"),
        ({"method": "switch", "widths": "50%,25%"}, "widths: write one to three shares"),
        ({"method": "switch", "widths": "half"}, "widths: write one to three shares"),
        ({"method": "skip", "active": "0%"}, "active: write one"),
        ({"method": "switch", "anytime": True}, "anytime: only exits have an answer before the end"),
    ],
)
def test_wrong_wishes_are_named_in_a_line(settings, words, data, tmp_path):
    with pytest.raises(InputError, match=words) as caught:
        autoprune.dynamic(net(), **data, run=tmp_path / "run", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_network_of_which_nothing_behind_the_first_block_can_go_is_refused(data, tmp_path):
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)
    )
    for method, words in (("switch", "can"), ("skip", "no block that could be skipped")):
        with pytest.raises(UnsupportedModelError, match=words):
            autoprune.dynamic(model, **data, run=tmp_path / "run", method=method, **SETTINGS)
    assert not (tmp_path / "run").exists()
