"""Templates of accelerators: ours and another package's pass the kit, which names what a broken one breaks."""

import pytest
import yaml

import autoprune
from autoprune.hardware.accelerators import CHIPS, TEMPLATES, load_accelerator
from autoprune.testing.accelerator import check_accelerator

FILE = {
    "schema": "autoprune.accelerator/1",
    "name": "counted",
    "template": "counting",
    "clock_mhz": 100,
    "pattern": "dense",
    "multipliers": 8,
    "weights_kb": 64,
    "search": {"multipliers": [4, 8]},
}


@pytest.fixture
def file(tmp_path):
    TEMPLATES.register("counting", "counting_chip:Counting")
    (tmp_path / "counted.yaml").write_text(yaml.safe_dump(FILE))
    yield tmp_path / "counted.yaml"
    TEMPLATES.unregister("counting")


@pytest.mark.parametrize("name", CHIPS)
def test_our_own_templates_conform(name, tmp_path):
    check_accelerator(load_accelerator(name), tmp_path)


@pytest.mark.parametrize(
    "knobs",
    [
        {"pattern": "bank:4"},
        {"memory.dram_gb_s": 1.0},
        {"pattern": "2:4", "array.dataflow": "output_stationary"},
        {"memory.dram_gb_s": 0.5, "pe.fifo": 2},
    ],
    ids=str,
)
def test_their_variants_conform(knobs, tmp_path):
    name = "systolic" if "array.dataflow" in knobs else "eie" if "pe.fifo" in knobs else "balanced"
    check_accelerator(load_accelerator(name).with_knobs(knobs), tmp_path)


def test_another_packages_template_conforms_and_is_a_target(file, net, example, tmp_path):
    chip = load_accelerator(file)
    check_accelerator(chip, tmp_path)
    measured = autoprune.measure(net, example, target=f"accelerator:{file}")
    assert measured.ms == pytest.approx(autoprune.flops(net, example) / 8 / 100e3)
    assert measured.clock == "simulated (counted)"


def test_the_kit_names_what_is_broken(file, tmp_path):
    chip = load_accelerator(file)

    class Forgetful(type(chip)):
        def area(self):
            return {"arithmetic": 0.0}

    class Endless(type(chip)):
        def storage_bytes(self, work):
            return {"weights_kb": 0.0}

    for broken, said in ((Forgetful, "takes no room"), (Endless, "any number of layers such as linear fits")):
        TEMPLATES.register("counting", broken)
        with pytest.raises(AssertionError, match=said):
            check_accelerator(broken.build(FILE), tmp_path)
