"""The closed forms of the systolic array against SCALE-Sim's cycles."""

import numpy as np
import pytest
import torch

from autoprune.errors import InputError
from autoprune.hardware.accelerators import LayerWork, load_accelerator
from autoprune.masks.groups.base import as_matrix
from autoprune.masks.n_of_m import NofM
from tests.support.accelerators.patterns import n_of_m

ARRAY = load_accelerator("systolic")


def conv(inputs, outputs, kernel, size, kept=None, seed=0):
    """A convolution as SCALE-Sim takes it: `size` positions a side of the output."""
    columns = kernel * kernel * inputs
    mask = np.ones((outputs, columns), dtype=np.bool_) if kept is None else n_of_m(outputs, columns, *kept, seed)
    return LayerWork("conv", mask, np.ones((1, columns)), positions=size * size, kernel=kernel * kernel)


@pytest.mark.parametrize(
    ("dataflow", "pattern", "kept", "cycles"),
    [
        ("output_stationary", "dense", None, 8267),
        ("weight_stationary", "dense", None, 8711),
        ("weight_stationary", "n:8", (2, 8), 2419),
        ("weight_stationary", "2:8", (2, 8), 2419),
        ("weight_stationary", "2:4", (2, 8), 8711),  # 2 of 8 may be 2 of 4 by chance, and is not here: it runs dense
    ],
)
def test_cycles_are_those_of_scale_sim(dataflow, pattern, kept, cycles):
    """32 -> 32 channels, 3x3, 14x14 on 16x16; made with scalesim 3.0.0, column "Compute cycles"."""
    array = ARRAY.with_knobs({"array.dataflow": dataflow, "pattern": pattern})
    work = conv(32, 32, 3, 14, kept)
    if pattern == "2:4":
        work.mask[0, :4] = [True, True, True, False]
    cost = array.price(work)
    assert cost.cycles == cycles
    assert cost.busy == work.weights * 196


@pytest.mark.parametrize(
    ("product", "array", "dataflow", "kept", "cycles"),
    [
        ((196, 32, 288), (16, 16), "weight_stationary", (4, 8), 4355),
        ((196, 32, 288), (16, 16), "weight_stationary", (1, 4), 2419),
        ((196, 32, 288), (16, 16), "weight_stationary", (2, 4), 4355),
        ((784, 16, 144), (16, 16), "output_stationary", None, 8525),
        ((784, 16, 144), (8, 32), "weight_stationary", None, 14939),
        ((49, 64, 576), (8, 8), "output_stationary", None, 33039),
        ((49, 64, 576), (32, 8), "weight_stationary", None, 17135),
        ((49, 64, 576), (32, 8), "weight_stationary", (1, 8), 2855),
        ((1, 10, 64), (16, 16), "weight_stationary", None, 187),
        ((1, 10, 64), (16, 16), "output_stationary", None, 93),
        ((100, 37, 51), (12, 20), "output_stationary", None, 1457),
        ((100, 37, 51), (12, 20), "weight_stationary", None, 1419),
        ((64, 48, 96), (16, 4), "weight_stationary", (2, 4), 3527),
    ],
)
def test_thirteen_more_products_take_scale_sims_cycles(product, array, dataflow, kept, cycles):
    """Made by `benchmarks/codesign_crosscheck.py` with scalesim 3.0.0."""
    positions, outputs, inputs = product
    knobs = {"array.rows": array[0], "array.columns": array[1], "array.dataflow": dataflow}
    chip = ARRAY.with_knobs({**knobs, "pattern": f"n:{kept[1]}" if kept else "dense"})
    mask = n_of_m(outputs, inputs, *kept) if kept else np.ones((outputs, inputs), dtype=np.bool_)
    assert chip.price(LayerWork("product", mask, np.ones((1, inputs)), positions=positions)).cycles == cycles


@pytest.mark.parametrize(("channels", "slots"), [(6, 9 * 2 * 2), (3, 9 * 2), (8, 9 * 4)])
def test_groups_that_end_at_each_place_of_the_kernel_are_stored_so(channels, slots):
    """2:4 masks of a 3x3 convolution as the pruner makes them, whose channels need be no multiple of 4."""
    array = ARRAY.with_knobs({"pattern": "2:4", "array.dataflow": "output_stationary"})
    work = conv(channels, 16, 3, 4)
    saliency = torch.rand(9, 16, channels, generator=torch.Generator().manual_seed(channels))
    pruned = work.with_mask(as_matrix(NofM(2, 4).mask(saliency)).numpy())
    cost = array.price(pruned)
    rows, columns = array.array.rows, array.array.columns
    assert cost.cycles == -(-16 // rows) * -(-16 // columns) * (slots + rows + columns - 2) - 1
    assert cost.busy == pruned.weights * 16
    assert sum(cost.stalls.values()) == pytest.approx(cost.cycles * cost.lanes - cost.busy)
    assert cost.cycles <= array.price(work).cycles


def test_a_mask_pays_for_its_fullest_group():
    array = ARRAY.with_knobs({"pattern": "n:4"})
    one, two = (array.price(conv(8, 16, 3, 4, (n, 4))) for n in (1, 2))
    assert one.stalls["zero weights"] == two.stalls["zero weights"] == 0
    work = conv(8, 16, 3, 4, (1, 4))
    work.mask[3, 8:12] = [True, True, False, False]
    cost = array.price(work)
    assert cost.cycles == two.cycles and cost.busy == one.busy + 16 and cost.stalls["zero weights"] > 0


def test_a_slow_memory_bounds_a_layer_by_its_bytes():
    array = ARRAY.with_knobs({"memory.dram_gb_s": 0.1, "array.arithmetic_bits": 8, "pattern": "dense"})
    cost = array.price(conv(16, 16, 1, 10))
    assert cost.bytes["dram"] == 16 * 16 + 2 * 16 * 100
    assert cost.cycles == pytest.approx(cost.bytes["dram"] / 0.1 * 0.8)


def test_a_layer_bound_by_bandwidth_is_within_10_percent_of_zigzag():
    """3021 cycles by zigzag-dse 3.9.1 on its `tpu_like`, as noted; 8 bytes a cycle."""
    knobs = {"array.rows": 32, "array.columns": 32, "clock_mhz": 1000, "memory.dram_gb_s": 8, "pattern": "dense"}
    assert ARRAY.with_knobs(knobs).price(conv(32, 32, 3, 14)).cycles == pytest.approx(3021, rel=0.10)


def test_standing_weights_are_within_10_percent_of_zigzags_eyeriss():
    """16646 cycles by zigzag-dse 3.9.1 on its `eyeriss_like` (12 x 14), as noted; its own ceil tiling is 15876."""
    array = ARRAY.with_knobs({"array.rows": 12, "array.columns": 14, "pattern": "dense"})
    assert array.price(conv(32, 32, 3, 14)).cycles == 24 * 3 * (196 + 2 * 12 + 14 - 2) - 1
    assert array.price(conv(32, 32, 3, 14)).cycles == pytest.approx(16646, rel=0.10)


def test_hierarchical_blocks_are_skipped_whole():
    array = ARRAY.with_knobs({"pattern": "2:4/n:4"})
    inner = conv(64, 16, 1, 4, (2, 4))
    blocks = np.repeat(n_of_m(16, 16, 1, 4, seed=5), 4, axis=1)  # one of every four blocks of four inputs
    one = inner.with_mask(inner.mask & blocks)
    kept = array.kept(one)
    assert (kept.n, kept.m, kept.index_bits) == (2, 16, 2 + 2 / 2)
    assert array.price(one).stalls["zero weights"] == 0
    assert array.storage_bytes(one)["weights_kb"] == 16 * 8 * (8 + 3) / 8
    plain = ARRAY.with_knobs({"pattern": "2:4"})
    assert array.price(inner).cycles == plain.price(inner).cycles  # all blocks stay: 2:4 alone
    assert array.price(inner.dense()).cycles == plain.price(inner.dense()).cycles > plain.price(inner).cycles


@pytest.mark.parametrize("pattern", ["n:4/2:4", "4:4", "2:4/n:1", "n", "2:4/", "/2:4", "2:4/1:2/1:2"])
def test_no_such_pattern(pattern):
    with pytest.raises(InputError, match="the template takes dense or N:M such as 2:4"):
        ARRAY.with_knobs({"pattern": pattern})


def test_the_metadata_of_n_of_m_is_stored():
    work = conv(32, 16, 1, 4, (2, 8))
    assert ARRAY.storage_bytes(work) == {"weights_kb": 16 * 8 * (8 + 3) / 8}


def test_groups_that_keep_unlike_amounts_are_stored_as_each_is():
    mask = np.zeros((8, 16), dtype=np.bool_)
    mask[:, ::8] = True  # 1 of 8
    mask[4:] = True  # the second group is dense
    work = LayerWork("grouped", mask, np.ones((1, 32)), groups=2)
    first, second = 4 * 2 * (8 + 3) / 8, 4 * 16 * 8 / 8
    assert ARRAY.with_knobs({"pattern": "n:8"}).storage_bytes(work) == {"weights_kb": first + second}
