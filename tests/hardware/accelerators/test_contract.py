"""An accelerator's file, its knobs, and costs that conserve."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.errors import AutopruneError, InputError
from autoprune.hardware.accelerators import CHIPS, Cost, LayerWork, load_accelerator
from tests.support.accelerators.made import layer


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.floats(0, 1), st.integers(1, 9), st.booleans())
def test_eie_loses_no_cycle(outputs, inputs, density, acts, positions, bias):
    work = layer(outputs, inputs, density, acts, positions=positions, bias=bias)
    chip = load_accelerator("eie").with_knobs({"pe.count": 8, "pe.fifo": 3})
    cost = chip.price(work)  # a cost checks that its lane-cycles are all there
    assert 0 <= cost.utilisation <= 1
    weights = work.mask.astype(float) @ work.active.T
    assert cost.busy == pytest.approx((weights.sum(axis=0).mean() + bias * outputs) * positions)


def test_a_cost_that_loses_cycles_is_a_fault_of_ours():
    with pytest.raises(AutopruneError, match="lane-cycles"):
        Cost(10, 2, 5, {"waiting": 14})
    with pytest.raises(AutopruneError, match="negative"):
        Cost(10, 2, 25, {"waiting": -5})


def test_costs_of_layers_add_up():
    chip, one, other = load_accelerator("eie"), layer(seed=1), layer(seed=2)
    both = chip.total([one, other])
    assert both.cycles == chip.price(one).cycles + chip.price(other).cycles
    assert both.energy_mj == pytest.approx(chip.price(one).energy_mj + chip.price(other).energy_mj)


def test_groups_run_one_after_the_other():
    work = layer(8, 6, groups=4)
    chip = load_accelerator("eie")
    parts = list(work.parts())
    assert [part.mask.shape for part in parts] == [(2, 6)] * 4
    assert chip.price(work).cycles == sum(chip.price(part).cycles for part in parts)


def test_padding_entries_carry_gaps_beyond_an_index():
    mask = np.zeros((50, 1), dtype=np.bool_)
    mask[[0, 17, 49]] = True  # gaps of 0, 16 and 31: an entry of zero for each 16 zeros
    chip = load_accelerator("eie").with_knobs({"pe.count": 1})
    cost = chip.price(LayerWork("gaps", mask, np.ones((1, 1))))
    assert (cost.busy, cost.stalls["padding entries"]) == (3, 2)


CHIP = yaml.safe_load("""
schema: autoprune.accelerator/1
name: mine
template: eie
clock_mhz: 800
pe: {count: 16, fifo: 8}
encoding: {index_bits: 4, value_bits: 4}
memory: {weights_kb_per_pe: 4, pointers_kb_per_pe: 2, activations_kb_per_pe: 2}
pattern: unstructured
""")


def faulty(tmp_path, section, key, value):
    content = {name: dict(part) if isinstance(part, dict) else part for name, part in CHIP.items()}
    (content[section] if section else content)[key] = value
    path = tmp_path / "chip.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError) as error:
        load_accelerator(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("memory", "weights_kb_per_pe", -128, "memory.weights_kb_per_pe: must be more than 0 (the nearest is 128)"),
        ("encoding", "index_bits", 0, "encoding.index_bits: must be 1 or more (the nearest is 1), not 0"),
        ("pe", "fifo", 1, "pe.fifo: must be 2 or more (the nearest is 2), not 1"),
        ("pe", "cuont", 4, "there is no key 'pe.cuont'; did you mean 'count'?"),
        ("", "clock_mzh", 4, "there is no key 'clock_mzh'; did you mean 'clock_mhz'?"),
        ("", "pattern", "2:4", "pattern: the template takes unstructured, not '2:4'"),
        ("", "template", "eye", "there is no accelerator template 'eye'; did you mean 'eie'?"),
        ("", "schema", "autoprune.accelerator/9", "the schema should be autoprune.accelerator/1"),
        ("", "search", {"pe.cont": [1]}, "pe.cont"),
        ("", "search", {"pe.count": [4, 0]}, "pe.count: must be 1 or more"),
        ("", "search", {"pe.count": []}, "pe.count has no values"),
    ],
)
def test_a_faulty_file_is_refused_with_what_is_nearest(tmp_path, section, key, value, said):
    assert said in faulty(tmp_path, section, key, value)


def test_an_unknown_chip_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'eie'"):
        load_accelerator("eiee")


def test_weights_that_do_not_fit_are_refused_with_the_size_that_would_do():
    chip = load_accelerator("eie").with_knobs({"pe.count": 1})
    small = chip.with_knobs({"memory.weights_kb_per_pe": 1})
    work = layer(64, 64).dense()
    assert not small.capacity_ok([work]) and "4 KB of weights_kb_per_pe" in small.no_room([work])
    assert chip.capacity_ok([work])
    assert small.with_knobs({"memory.dram_gb_s": 1, "memory.weights_kb_per_pe": 4}).capacity_ok([work, work])


@pytest.mark.parametrize("name", CHIPS)
def test_a_weight_that_two_layers_read_is_stored_once(name):
    chip, work = load_accelerator(name), layer(64, 64, weight="w").dense()
    once, twice = chip.needed_bytes([work]), chip.needed_bytes([work, replace(work, name="again")])
    assert once == twice == chip.storage_bytes(work)
    others = chip.needed_bytes([work, replace(work, weight="v")])
    assert others == {memory: 2 * size for memory, size in once.items()}


def test_a_slow_memory_is_waited_for():
    chip, work = load_accelerator("eie"), layer(64, 64)
    slow = chip.with_knobs({"memory.dram_gb_s": 0.001})
    cost = slow.price(work)
    assert cost.cycles == pytest.approx(cost.bytes["dram"] / 0.001 * 800 * 1e-3)
    assert cost.stalls["memory bandwidth"] > 0 and cost.busy == chip.price(work).busy
