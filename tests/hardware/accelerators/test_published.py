"""The machine models against published figures, in short; `benchmarks/codesign_machines.py` has all of them."""

import importlib.util
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[3] / "benchmarks" / "codesign_machines.py"


@pytest.fixture(scope="module")
def machines():
    spec = importlib.util.spec_from_file_location("codesign_machines", HOME)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def short(machines):
    return {name: machines.times(name, 1) for name in ("Alex-8", "NT-We", "NT-Wd", "NT-LSTM")}


def test_given_the_printed_work_the_printed_times_come_out(machines, short):
    off = {name: abs(row["scaled_us"] / machines.LAYERS[name].actual_us - 1) for name, row in short.items()}
    assert max(off.values()) < 0.15 and sum(off.values()) / len(off) < 0.05


def test_the_densities_alone_come_near_them(machines, short):
    off = {name: abs(row["plain_us"] / machines.LAYERS[name].actual_us - 1) for name, row in short.items()}
    assert sum(off.values()) / len(off) < 0.12


def test_a_narrow_layer_is_slow_for_its_empty_slices(short):
    assert short["NT-We"]["scaled_us"] > 1.4 * short["NT-We"]["ideal_us"]


def test_queues_pay_up_to_nine_slots_and_hardly_beyond(short):
    for name, row in short.items():
        assert row["efficiency_9"] > 1.05 * row["efficiency_2"], name
        assert row["efficiency_257"] < 1.07 * row["efficiency_9"], name


def test_lines_of_64_bits_are_cheapest_where_no_line_is_kept(short):
    from autoprune.hardware.accelerators.technology.sram import Sram

    energy = {
        bits: sum(row[f"fresh_reads_{bits}"] for row in short.values()) * Sram(128, bits).read_pj
        for bits in (32, 64, 128)
    }
    assert min(energy, key=energy.get) == 64
    assert all(row[f"reads_{bits}"] <= row[f"fresh_reads_{bits}"] for row in short.values() for bits in energy)


def test_balanced_columns_need_neither_queue_nor_pointer(machines):
    for name in ("Alex-8", "NT-LSTM"):
        found = machines.balanced(name)
        assert found["efficiency"] >= 0.99
        assert found["cycles"] == pytest.approx(found["count"] * found["non_zeros"] + 6, abs=5)
    assert "keeps less than one" in machines.balanced("NT-We")["refused"]
