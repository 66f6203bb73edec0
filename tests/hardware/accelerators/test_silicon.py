"""Tables of energy and area: exact at their points, and the published machine within what was found."""

import pytest

from autoprune.hardware.accelerators import load_accelerator
from autoprune.hardware.accelerators.technology.sram import Sram


@pytest.mark.parametrize(
    ("kb", "bits", "picojoules", "area"),
    [(2, 64, 2.8, 0.0075), (16, 16, 7.7, 0.053), (32, 64, 17.0, 0.095), (128, 64, 32.3, 0.43), (512, 64, 68.3, 1.64)],
)
def test_an_sram_of_the_table_has_its_figures(kb, bits, picojoules, area):
    assert Sram(kb, bits).read_pj == pytest.approx(picojoules)
    assert Sram(kb, bits).area_mm2 == pytest.approx(area)


@pytest.mark.parametrize(("bits", "picojoules"), [(16, 21.4), (32, 25.3), (128, 50.3), (256, 73.8), (512, 97.8)])
def test_a_wider_line_costs_what_the_table_says(bits, picojoules):
    assert Sram(128, bits).read_pj == pytest.approx(picojoules)


def test_more_memory_is_never_cheaper_or_smaller():
    sizes = [0.5 * 1.3**step for step in range(30)]
    for bits in (16, 32, 64, 256):
        energies = [Sram(kb, bits).read_pj for kb in sizes]
        areas = [Sram(kb, bits).area_mm2 for kb in sizes]
        assert energies == sorted(energies) and areas == sorted(areas)


def test_the_published_accelerator_has_its_area_within_15_percent():
    """64 PEs take 40.8 mm2 in the paper (recalled); memories by CACTI, and arithmetic and queue as published."""
    assert load_accelerator("eie").area_mm2 == pytest.approx(40.8, rel=0.15)
