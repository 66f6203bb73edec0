"""A chip as a target: its milliseconds are cycles over the clock, labelled as simulated, and repeat exactly."""

import json

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import InputError, UnsupportedModelError
from autoprune.hardware import LatencyTable, Layer, get_target
from autoprune.hardware.accelerators import load_accelerator, save_accelerator, workload_of
from autoprune.testing.target import TargetTests


class TestEie(TargetTests):
    clock = "simulated (eie)"

    def target(self):
        return get_target("accelerator:eie")

    def check(self, target, result):
        model, example = self.network()
        chip = load_accelerator("eie")
        cost = chip.total(workload_of(model, example))
        assert result.ms == pytest.approx(chip.ms(cost)) and result.spread == 0
        assert result.conditions["energy_source"] == "simulated (eie)"
        readings = {each["name"]: each for each in result.conditions["readings"]}
        assert readings["utilisation"]["value"] == pytest.approx(cost.utilisation)
        assert readings["utilisation"]["value"] + readings["stalled"]["value"] == pytest.approx(1)
        assert result.conditions["free"] == ["1 (batch_norm)", "2 (relu)"]
        assert readings["dram_bytes"]["value"] == 0 < readings["sram_bytes"]["value"]
        assert {each["source"] for each in readings.values()} == {"simulated (eie)"}


class TestSystolic(TargetTests):
    clock = "simulated (systolic)"

    def target(self):
        return get_target("accelerator:systolic")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 12, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(48, 10)).eval(), torch.rand(1, 1, 8, 8)


def test_a_file_is_a_target_as_a_name_is(network, tmp_path):
    chip = load_accelerator("eie").with_knobs({"pe.count": 4, "name": "small"})
    save_accelerator(chip, tmp_path / "small.yaml")
    target = get_target(f"accelerator:{tmp_path / 'small.yaml'}")
    assert target.spec == f"accelerator:{tmp_path / 'small.yaml'}"
    result = autoprune.measure(*network, target=target.spec)
    assert result.clock == "simulated (small)"
    assert result.ms > autoprune.measure(*network, target="accelerator:eie").ms
    assert get_target("accelerator:eie").fingerprint() != target.fingerprint()


def test_a_table_of_a_systolic_array_predicts_it_exactly(network):
    table = autoprune.profile(*network, target="accelerator:systolic", granularity=4)
    assert table.error.worst < 1e-4 and table.error.n >= 4
    assert table.macs_error.worst > 0.02  # stairs of the array, which multiply-accumulates do not have


@pytest.mark.parametrize("chip", ["eie", "balanced"])
def test_a_table_of_a_chip_that_skips_zeros_says_how_far_it_is_off(network, chip):
    table = autoprune.profile(*network, target=f"accelerator:{chip}", granularity=4, timing="quick")
    assert 0 < table.error.mean < 0.1


def test_calibration_images_decide_what_is_skipped(network):
    model, example = network
    target = get_target("accelerator:eie")
    alone = target.time([target.pack(model, example)], None)[0]
    target.calibrate(lambda: torch.zeros(4, 1, 8, 8))
    dark = target.time([target.pack(model, example)], None)[0]
    assert dark.ms != alone.ms
    assert (alone.conditions["activations"], dark.conditions["activations"]) == ("1 image of the example", "4 images")


def test_zeroed_weights_are_cheaper_where_they_are_skipped(network):
    model, example = network
    target = get_target("accelerator:eie")
    target.calibrate(lambda: torch.ones(2, 1, 8, 8))
    dense = json.loads(target.pack(model, example))
    sparse = nn.Sequential(*model)
    kept = sparse[2].weight.detach().clone()
    with torch.no_grad():
        sparse[2].weight[:, 1::2] = 0
        masked = json.loads(target.pack(sparse, example))
        sparse[2].weight.copy_(kept)
    assert masked["energy_mj"] < dense["energy_mj"] and masked["ms"] <= dense["ms"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("accelerator:eiee", "did you mean 'eie'"),
        ("accelerator:missing.yaml", "missing.yaml"),
        ("accelerator:eie@bf16", "has no precision 'bf16'"),
        ("accelerator:eie@threads=2", "no threads"),
        ("acelerator", "no target is named"),
    ],
)
def test_a_wrong_spec_is_refused_in_one_line(spec, said):
    with pytest.raises(InputError, match=said) as error:
        get_target(spec)
    assert "\n" not in str(error.value)


def test_a_network_that_does_not_fit_is_refused_with_what_would_do(network, tmp_path):
    chip = load_accelerator("eie").with_knobs({"pe.count": 1, "memory.weights_kb_per_pe": 0.5})
    save_accelerator(chip, tmp_path / "tiny.yaml")
    with pytest.raises(InputError, match=r"does not fit: 3 layers need .* KB of weights_kb_per_pe.*dram_gb_s"):
        autoprune.measure(*network, target=f"accelerator:{tmp_path / 'tiny.yaml'}")


def test_a_network_of_which_much_is_not_priced_is_refused():
    with pytest.raises(UnsupportedModelError, match=r"\(gru\) has weights, and accelerators price"):
        get_target("accelerator:eie").pack(nn.GRU(4, 3, batch_first=True), torch.randn(1, 5, 4))


def test_layers_without_weights_cost_next_to_nothing():
    target = get_target("accelerator:eie")
    pool = Layer("pool", 8, 8, size=(8, 8), out_size=(4, 4), kernel=(2, 2))
    empty, free, dense = (
        target.pack_layer(each, n) for each, n in ((pool, 0), (pool, 1), (Layer("linear", 64, 10), 1))
    )
    assert empty == free != dense


def test_a_table_is_bound_to_its_chip(network, tmp_path):
    table = autoprune.profile(*network, target="accelerator:balanced", granularity=8, timing="quick")
    table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json").fingerprint["target"] == "accelerator:balanced"
