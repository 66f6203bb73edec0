"""The laws of importance on a chip, and a row's cost against the cost of the layer without it."""

import numpy as np
import pytest

from autoprune.cost.importance import ImportanceWeights
from autoprune.errors import InputError
from autoprune.hardware.accelerators import LayerWork, load_accelerator, row_costs, row_importance
from tests.support.accelerators.made import layer

CHIP = load_accelerator("eie").with_knobs({"pe.count": 4})


def named(name, **settings):
    made = layer(**settings)
    return LayerWork(name, made.mask, made.activations, positions=made.positions)


@pytest.fixture(scope="module")
def works():
    return [
        named("thin", outputs=12, inputs=20, density=0.2, seed=1),
        named("thick", outputs=8, inputs=60, density=0.8),
    ]


@pytest.fixture(scope="module")
def saliency(works):
    draw = np.random.default_rng(0)
    return {work.name: draw.random(work.outputs) for work in works}


def order(importance):
    return np.argsort(np.concatenate(list(importance.values.values()))).tolist()


def test_a_row_costs_what_the_layer_is_cheaper_without_it(works):
    work = works[1]
    costs = row_costs(CHIP, work)
    mask = work.mask.copy()
    mask[3] = False
    cheaper = CHIP.price(work.with_mask(mask))
    assert costs.mj[3] == pytest.approx(CHIP.price(work).energy_mj - cheaper.energy_mj)
    assert costs.ms[3] == pytest.approx(CHIP.ms(CHIP.price(work)) - CHIP.ms(cheaper))
    fullest = [work.mask[pe::4].sum() for pe in range(4)]
    assert costs.ms[np.argmax(fullest) :: 4].max() >= costs.ms[np.argmin(fullest) :: 4].max()


def test_alpha_alone_is_the_plain_ranking(works, saliency):
    found = row_importance(CHIP, works, saliency, ImportanceWeights(1, 0, 0))
    assert order(found) == np.argsort(np.concatenate(list(saliency.values()))).tolist() and found.clipped == 0


def test_units_do_not_matter(works, saliency):
    weights = ImportanceWeights(1, 1, 1)
    slower = CHIP.with_knobs({"clock_mhz": CHIP.clock_mhz / 1000})
    one, other = (row_importance(chip, works, saliency, weights) for chip in (CHIP, slower))
    for name, values in one.values.items():
        np.testing.assert_allclose(values, other.values[name])


def test_of_two_equal_rows_that_of_the_dearer_layer_goes_first(works):
    equal = {work.name: np.ones(work.outputs) for work in works}
    found = row_importance(CHIP, works, equal, ImportanceWeights(1, 0, 1))
    assert found.values["thick"].max() < found.values["thin"].min()


def test_rows_that_save_next_to_nothing_are_clipped_and_counted(works, saliency):
    work = works[1]
    mask = work.mask.copy()
    mask[[0, 5]] = False
    found = row_importance(CHIP, [work.with_mask(mask)], saliency, ImportanceWeights(1, 0, 1))
    assert found.clipped == 2 and np.isfinite(found.values["thick"]).all()
    assert set(np.argsort(found.values["thick"])[-2:]) == {0, 5}


@pytest.mark.parametrize("name", ["systolic", "balanced"])
def test_a_chip_of_tiles_shares_one_tile_among_its_rows(name):
    chip = load_accelerator(name)
    tile = chip.rows_of_a_tile
    work = named("wide", outputs=3 * tile, inputs=40, positions=5).dense()
    costs = row_costs(chip, work)
    saved = chip.price(work).cycles - chip.price(work.with_mask(work.mask[: 2 * tile])).cycles
    assert costs.ms == pytest.approx(saved / chip.clock_mhz / 1e3 / tile) and costs.ms[0] > 0


def test_a_saliency_of_another_layer_is_refused(works, saliency):
    with pytest.raises(InputError, match="thick has 8 rows"):
        row_importance(CHIP, works, {**saliency, "thick": np.ones(7)}, ImportanceWeights())
