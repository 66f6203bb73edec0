"""Balanced chips: cycles by hand, nothing lost but the drain, and what cannot be balanced is refused."""

import numpy as np
import pytest

from autoprune.errors import InputError
from autoprune.hardware.accelerators import LayerWork, load_accelerator
from tests.support.accelerators.patterns import bank_balanced, column_balanced

COLUMN = load_accelerator("balanced").with_knobs({"pe.count": 8})


def active(columns, share=1.0, vectors=2, seed=0):
    return np.random.default_rng(seed).random((vectors, columns)) < share


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_a_column_balanced_layer_takes_its_count_for_every_non_zero(share):
    work = LayerWork("made", column_balanced(64, 256, 8, 2), active(256, share), positions=3)
    cost = COLUMN.price(work)
    found = work.active.sum(axis=1).mean()
    assert 2 * found + 6 <= cost.cycles / 3 <= 2 * found + 6 + 4  # the search may lose a cycle on rows of few
    assert cost.stalls["padding"] == 0 and cost.busy == pytest.approx(3 * found * 16)


def test_an_unbalanced_mask_costs_its_fullest_slice():
    mask = column_balanced(64, 256, 8, 2)
    balanced = COLUMN.price(LayerWork("made", mask, active(256)))
    uneven = mask.copy()
    uneven[:, 7] = np.arange(64) < 32  # four in each slice of one column
    padded = COLUMN.price(LayerWork("made", uneven, active(256)))
    assert padded.cycles - 7 == 2 * (balanced.cycles - 7)
    assert padded.stalls["padding"] > 0 == balanced.stalls["padding"]


def test_the_bias_is_one_more_weight_a_row():
    work = LayerWork("made", column_balanced(64, 256, 8, 2), active(256))
    biased = LayerWork("made", work.mask, work.activations, bias=True)
    assert COLUMN.price(biased).cycles - COLUMN.price(work).cycles == 64 / 8


def test_a_row_of_banks_takes_the_count_of_a_bank():
    chip = COLUMN.with_knobs({"pattern": "bank:4", "pe.count": 5})
    cost = chip.price(LayerWork("made", bank_balanced(12, 64, 4, 3), active(64, 0.5), positions=2))
    assert cost.cycles == 2 * (3 * 3 + 6)  # three rows in turn on five PEs, three weights of each bank
    assert cost.lanes == 20 and cost.busy == 2 * 12 * 12 and cost.stalls["idle PEs"] == 2 * 3 * 12


def test_what_leaves_less_than_a_weight_a_slice_is_refused_with_how_many_would_do():
    mask = np.random.default_rng(0).random((16, 40)) < 0.25
    work, chip = LayerWork("narrow", mask, active(40)), COLUMN.with_knobs({"pe.count": 16})
    with pytest.raises(InputError, match=r"balanced cannot run narrow: .*keeps less than one.*at most [34] PEs"):
        chip.price(work)
    assert chip.price(work.dense()).utilisation > 0.5  # dense there is nothing to balance
    banks = COLUMN.with_knobs({"pattern": "bank:20"})
    assert "banks" in banks.why_not(work)


def test_stored_weights_are_as_many_as_the_slices_hold():
    work = LayerWork("made", column_balanced(64, 256, 8, 2), active(256))
    # 2 of 8 in each of 256 slices of a PE: 4 bits of value and 3 of place
    assert COLUMN.storage_bytes(work) == {"weights_kb_per_pe": 2 * 256 * 7 / 8}
