"""Gated channels: gathered ones answer as masked ones do, and no more than the cap are kept."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import autoprune
from autoprune.channel_gating.network import ChannelNetwork, kept_channels, run_masked
from autoprune.channel_gating.onnx_file import channel_file, channel_parts, narrow_file
from autoprune.channel_gating.pairs import pairs_of, path_of_count
from autoprune.channel_gating.sweep import LayerTimes, ShareTimes, channel_choices
from autoprune.channel_gating.training import SoftChannels
from autoprune.dynamic_networks.flow import flow_of
from autoprune.dynamic_networks.stages import cut_at, run_stages
from autoprune.dynamic_networks.thresholds import Limits
from autoprune.errors import InputError, UnsupportedModelError
from autoprune.evaluation import accuracy
from autoprune.gating.gate import BlockGate
from autoprune.gating.sweep import LEVELS, Sweep
from autoprune.hardware import get_target
from autoprune.pipeline.jobs.dynamic.methods.gate import Gate
from autoprune.pipeline.jobs.dynamic.methods.gate import WithChannels as Prepared
from autoprune.reports import write_html
from tests.pipeline.test_dynamic_methods import residual_net
from tests.support.exits import TIED, elsewhere, share_of
from tests.support.pages import Page
from tests.support.tiny_job import images

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore:the last 200 inputs do not leave")

X = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 5, 12).reshape(
    -1, 1, 1, 1
)


@pytest.fixture(scope="module")
def built():
    """A network whose gates differ much from input to input, and its parts as ONNX."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = flow_of(residual_net().eval(), X[:1])
        pairs = pairs_of(flow)
        gates = [BlockGate(pair.shape, pair.width).eval() for pair in pairs]
        for gate in gates:
            nn.init.normal_(gate.out.weight, std=20.0)
            nn.init.zeros_(gate.out.bias)
        with torch.no_grad():
            return flow, pairs, gates, channel_parts(flow, pairs, gates)


def test_pairs_are_the_convolutions_inside_the_blocks(built):
    _, pairs, _, _ = built
    assert [(pair.name, pair.width, pair.shape) for pair in pairs] == [("3.a", 32, (32, 8, 8)), ("4.a", 32, (32, 8, 8))]
    assert [pairs[0].at(share) for share in (0.01, 0.5, 0.51, 1.0)] == [1, 16, 17, 32]
    linear = flow_of(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval(), X[:1])
    with pytest.raises(UnsupportedModelError, match="no channels that an input could do without"):
        pairs_of(linear)


def test_kept_are_the_best_up_to_a_cap_and_one_at_least():
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.1, 0.2, 0.3, 0.1], [float("nan")] * 4])
    kept = kept_channels(scores, 2, 0.6)
    assert kept.tolist()[:2] == [[False, True, False, True], [False, False, True, False]]
    assert kept[2].sum() == 2  # what is no number is not below the threshold
    assert kept_channels(scores, 2, 0.8)[0].tolist() == [False, True, False, False]
    assert [int(path_of_count(count, 40)) for count in (2, 4, 5, 40)] == [0, 0, 1, 9]


def test_gathered_channels_answer_as_masked_ones_do(built):
    flow, pairs, gates, parts = built
    caps = [pair.at(0.7) for pair in pairs]
    network = ChannelNetwork(flow, pairs, gates, caps, 0.6).eval()
    call = get_target("onnxruntime").caller(channel_file(parts, caps, 0.6))
    with torch.no_grad():
        logits, taken = network.answers(X)
        kept = network.decided((X,))[1]
    assert len({tuple(row) for row in kept.tolist()}) >= 4  # the gates do choose
    found = [call([row[None].numpy()]) for row in X]
    assert elsewhere([int(each[1][0]) for each in found], taken.tolist()) <= TIED
    errors = [np.abs(each[0] - row.numpy()).max() for each, row in zip(found, logits, strict=True)]
    assert sum(error > 1e-4 for error in errors) <= TIED


def test_with_all_channels_it_is_the_dense_network_and_narrow_files_have_the_first(built):
    flow, pairs, _, parts = built
    dense, all_of = run_stages(cut_at(flow, []), (X[:1],)), [pair.width for pair in pairs]
    call = get_target("onnxruntime").caller
    logits, path = call(channel_file(parts, all_of, 0.0, all_of))([X[:1].numpy()])
    assert np.allclose(logits, dense.detach().numpy(), atol=1e-5) and int(path[0]) == 9
    half = [pair.at(0.5) for pair in pairs]
    masks = [torch.arange(pair.width)[None] < count for pair, count in zip(pairs, half, strict=True)]
    with torch.no_grad():
        expected, _ = run_masked(flow, pairs, (X[:1],), lambda number, _: masks[number])
    assert np.allclose(call(narrow_file(parts, half))([X[:1].numpy()])[0], expected.numpy(), atol=1e-5)


def test_the_training_reaches_gates_and_weights_and_its_masks_are_hard(built):
    flow, pairs, gates, _ = built
    soft = SoftChannels(residual_net().forward, flow, pairs, gates, lambda flat: torch.zeros(len(flat[0]), 4), 10)
    logits, kept, _, done = soft.train()(X)
    assert set(kept.unique().tolist()) == {0.0, 1.0} and float(done) == pytest.approx(0.1)
    logits.square().mean().backward()
    assert all(float(gate.out.weight.grad.abs().sum()) > 0 for gate in gates)
    for each in (*flow.module.parameters(), *soft.parameters()):
        each.grad = None


def test_a_layer_pays_up_to_the_share_at_which_the_line_meets_the_dense_layer():
    times = LayerTimes(1.0, 0.8, 1.1, 0.9)
    assert times.break_even == pytest.approx(0.25 + 0.25 * 0.2 / 0.3) and times.fastest == "prepared"
    assert times.at(times.break_even) == pytest.approx(1.0)
    assert LayerTimes(1.0, 1.2, 1.4, 1.1).break_even is None
    assert LayerTimes(1.0, 1.2, 1.4, 1.1).fastest == "dense"
    assert ShareTimes(1.0, (0.5, 0.9, 1.2)).within(1.1).tenths == (0.5, 0.9)


def test_networks_whose_inputs_all_keep_the_same_are_no_choice():
    rng = np.random.default_rng(0)
    opened = rng.random((len(LEVELS), 2000, 10)) < 0.5
    opened[..., 0] = True
    opened[0] = opened[0, 0]  # collapsed
    dense = np.ones(2000, bool)
    sweep = Sweep(LEVELS, np.ones((len(LEVELS), 2000), bool), opened, dense, np.zeros(2000, np.int64))
    times = ShareTimes(1.0, tuple(0.1 * (number + 1) for number in range(10)))
    found = list(channel_choices(sweep, times, Limits(0.05, 1.1)))
    assert [each.thresholds for each in found] == [(level,) for level in LEVELS[1:]]
    shares = [np.bincount(opened[1].sum(1) - 1, minlength=10) / 2000]
    assert found[0].shares == pytest.approx(shares[0].tolist())
    assert found[0].mean_ms == pytest.approx(float(np.array(times.tenths) @ shares[0]))
    assert list(channel_choices(sweep, times, Limits(0.05, 0.9))) == []


@pytest.mark.parametrize(("caps", "threshold"), [([0, 1], 0.5), ([1], 0.5), ([1, 1], -1.0), ([1, 1], float("nan"))])
def test_wrong_caps_and_thresholds_are_refused(built, caps, threshold):
    flow, pairs, gates, _ = built
    with pytest.raises(InputError):
        ChannelNetwork(flow, pairs, gates, caps, threshold)


SETTINGS = {"worst": "1000%", "max_drop": 99.0, "timing": "quick", "static_episodes": 0, "dynamic_epochs": 1}


@pytest.fixture(scope="module")
def data():
    parts = {"train": images(128, 0), "search": images(200, 1), "test": images(128, 2)}
    return {name: DataLoader(part, batch_size=64, shuffle=name == "train") for name, part in parts.items()}


@pytest.mark.slow
def test_what_is_handed_over_is_what_the_report_says_and_a_killed_run_ends_the_same(data, tmp_path, monkeypatch):
    """Whether gathering pays here is the machine's affair: it is made to."""
    monkeypatch.setattr(LayerTimes, "at", lambda *_: 0.0)
    monkeypatch.setattr("autoprune.pipeline.jobs.dynamic.verification.LEAST_GAIN", -100.0)
    monkeypatch.setattr("autoprune.pipeline.jobs.dynamic.methods.gate.ShareTimes", _Falling)
    torch.manual_seed(0)
    model, folder = residual_net().eval(), tmp_path / "run"
    result = autoprune.dynamic(model, **data, run=folder, method="gate", active="50%", **SETTINGS)
    report = result.report
    assert [each["name"] for each in report["gated_layers"]] == ["3.a", "4.a"]
    assert {each["fastest"] for each in report["gated_layers"]} <= {"gather", "prepared", "dense"}
    loaded = autoprune.load(folder, model=residual_net())
    assert accuracy(loaded, data["test"]) == pytest.approx(report["accuracy"], abs=share_of(128))
    assert "half gathered" in Page(write_html(folder)).text
    if report["dynamic"]:  # else all inputs kept the same channels
        pixels = next(iter(data["test"]))[0]
        with torch.no_grad():
            logits, taken = result.model.answers(pixels)
            again, same = loaded.answers(pixels)
        assert torch.equal(logits, again) and torch.equal(taken, same)
        call = get_target("onnxruntime").caller((folder / "model.onnx").read_bytes())
        assert elsewhere([int(call([each[None].numpy()])[1][0]) for each in pixels], taken.tolist()) <= TIED
        assert sum(each["share"] for each in report["exits"]) == pytest.approx(1)
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    (again / "report.json").unlink()
    resumed = autoprune.dynamic(model, **data, run=again, method="gate", active="50%", **SETTINGS, resume=True)
    assert json.loads(json.dumps(resumed.report)) == json.loads(json.dumps(report))


class _Falling(ShareTimes):
    """Times by which fewer channels are faster."""

    def __init__(self, dense, tenths):
        super().__init__(dense, tuple(dense * (0.1 + 0.05 * number) for number in range(len(tenths))))


def test_where_no_layer_pays_the_dense_network_is_handed_back_untrained(data, tmp_path, monkeypatch):
    monkeypatch.setattr(LayerTimes, "at", lambda self, _: self.dense)
    monkeypatch.setattr(Prepared, "trained", None)
    torch.manual_seed(0)
    model = residual_net().eval()
    result = autoprune.dynamic(model, **data, run=tmp_path / "run", method="gate", **SETTINGS)
    assert result.report["dynamic"] is False and result.report["mean_share"] == 1.0
    assert not any(each["gated"] for each in result.report["gated_layers"])
    with torch.no_grad():
        assert torch.equal(result.model(X), model(X))


def test_a_target_that_does_not_gather_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="runs no convolution whose channels depend on the input"):
        autoprune.dynamic(residual_net(), **data, run=tmp_path / "run", method="gate", target="openvino", **SETTINGS)
    assert Gate.name == "gate" and not (tmp_path / "run").exists()
