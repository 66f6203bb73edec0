"""Encodings: what is written is read back, is never shorter than entropy, and as long as formulas say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.errors import InputError
from autoprune.hardware.accelerators import LayerWork, load_accelerator
from autoprune.hardware.accelerators.encodings.base import entropy_bits
from autoprune.hardware.accelerators.encodings.closed_forms import (
    bitmap_bits,
    padding_share,
    relative_bits,
    smallest_density_of_bitmap,
)
from autoprune.hardware.accelerators.encodings.dense import Bitmap, Blocks
from autoprune.hardware.accelerators.encodings.fixed import BankBalanced, ColumnBalanced, OfM
from autoprune.hardware.accelerators.encodings.gaps import Relative, RunLength
from autoprune.hardware.accelerators.encodings.places import Compressed, Coordinates
from tests.support.accelerators.patterns import bank_balanced, column_balanced, n_of_m

UNSTRUCTURED = [
    Bitmap(),
    Blocks(2, 3),
    RunLength(2),
    RunLength(4),
    Relative(1, 4, 12),
    Relative(4, 3, 16),
    Compressed(),
    Compressed(columns=True),
    Coordinates(),
]


def named(encoding):
    return str(encoding)


def masks():
    size = st.integers(1, 40)
    return st.builds(
        lambda rows, columns, density, seed: np.random.default_rng(seed).random((rows, columns)) < density,
        size, size, st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.9, 1.0]), st.integers(0, 10**6),
    )  # fmt: skip


@pytest.mark.parametrize("encoding", UNSTRUCTURED, ids=named)
@settings(max_examples=60, deadline=None)
@given(mask=masks())
def test_any_mask_is_read_back(encoding, mask):
    encoded = encoding.encode(mask)
    assert encoded.index.dtype == np.bool_ and encoded.values.sum() == mask.sum()
    assert (encoding.decode(encoded, mask.shape) == mask).all()


@settings(max_examples=60, deadline=None)
@given(mask=masks(), parts=st.integers(1, 9))
def test_balanced_encodings_read_back_what_has_room(mask, parts):
    for empty in (OfM(0, m=parts), BankBalanced(0, banks=parts), ColumnBalanced(0, pes=parts)):
        most = int(empty._parts(mask).sum(axis=1).max())
        for count in range(max(1, most), empty._parts(mask).shape[1] + 1):
            encoding = type(empty)(count, **{k: v for k, v in vars(empty).items() if k != "count"})
            assert (encoding.decode(encoding.encode(mask), mask.shape) == mask).all()
        if most > 1:
            with pytest.raises(InputError, match=f"keeps {most} weights"):
                type(empty)(most - 1, parts).encode(mask)


def test_the_length_of_an_index_is_counted_by_hand():
    mask = np.zeros((2, 8), dtype=np.bool_)
    mask[0, 5] = mask[1, 0] = mask[1, 1] = True
    assert len(Bitmap().encode(mask).index) == 16
    # counts 5, 2, 0 in 2 bits: the first needs an entry that carries 4 zeros
    run = RunLength(2).encode(mask)
    assert (len(run.index), run.values.tolist()) == (8, [False, True, True, True])
    assert run.bits(4) == 8 + 16 and run.index_bits(4) == (24 - 12) / 3
    # 9 pointers of 5 bits for the columns, 3 of 5 bits for the rows; places of 1 and 3 bits
    assert len(Compressed(columns=True).encode(mask).index) == 9 * 5 + 3
    assert len(Compressed().encode(mask).index) == 3 * 5 + 9
    assert len(Coordinates().encode(mask).index) == 3 * 4
    assert Blocks(2, 2).encode(mask).bits(8) == 4 + 2 * 4 * 8


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_pattern_takes_the_bits_of_its_places(n):
    mask = n_of_m(16, 64, n, 8)
    assert OfM(n, m=8).encode(mask).index_bits(4) == 3
    assert math.log2(math.comb(8, n)) / n <= 3  # its own bound
    mask = column_balanced(64, 32, 4, n)
    assert ColumnBalanced(n, pes=4).encode(mask).index_bits(4) == 4 >= math.log2(math.comb(16, n)) / n
    mask = bank_balanced(16, 128, 4, n)
    assert BankBalanced(n, banks=4).encode(mask).index_bits(4) == 5 >= math.log2(math.comb(32, n)) / n


@pytest.fixture(scope="module")
def random_masks():
    draw = np.random.default_rng(0)
    return {d: draw.random((1024, 512)) < d for d in (0.04, 0.09, 0.15, 0.25, 0.5)}


@pytest.mark.parametrize("density", [0.04, 0.09, 0.15, 0.25, 0.5])
def test_measured_bits_are_those_of_the_closed_forms_and_above_the_entropy(random_masks, density):
    mask = random_masks[density]
    density = mask.mean()
    pointers = 16 * (512 + 1) * 16 / mask.sum()
    found = {
        "bitmap": (Bitmap(), bitmap_bits(density)),
        "relative 4": (Relative(4, 16, 16), relative_bits(density, 4, 4, 64) + pointers),
        "relative 2": (Relative(2, 16, 16), relative_bits(density, 2, 4, 64) + pointers),
        "run length": (RunLength(4), relative_bits(density, 4, 4)),
        "coordinates": (Coordinates(), 19.0),
        "CSC": (Compressed(columns=True), 10 + 513 * 20 / mask.sum()),
    }
    for encoding, expected in found.values():
        measured = encoding.encode(mask).index_bits(4)
        assert measured == pytest.approx(expected, rel=0.01)
        assert measured >= entropy_bits(density) * 0.99


def test_padding_is_what_the_published_densities_come_to():
    assert padding_share(0.09, 4, 64) == pytest.approx(0.19, abs=0.01)
    assert padding_share(0.04, 4, 64) == pytest.approx(0.56, abs=0.01)


def test_a_bitmap_is_smaller_above_the_known_densities():
    assert smallest_density_of_bitmap(4, 4) == pytest.approx(0.24, abs=0.01)
    assert smallest_density_of_bitmap(8, 4) == pytest.approx(0.12, abs=0.01)


@pytest.mark.parametrize(("density", "width"), [(0.25, 3), (0.15, 4), (0.10, 5), (0.05, 6), (0.02, 8)])
def test_the_best_width_of_a_relative_index(density, width):
    assert min(range(2, 11), key=lambda bits: relative_bits(density, bits, 4)) == pytest.approx(width, abs=1)


@pytest.mark.parametrize("density", [0.05, 0.3])
def test_the_template_counts_the_entries_that_the_encoding_writes(density):
    chip = load_accelerator("eie").with_knobs({"pe.count": 8})
    mask = np.random.default_rng(3).random((300, 40)) < density
    entries = chip.slices(LayerWork("made", mask, np.ones((1, 40)))).entries
    encoded = Relative(4, 8, 16).encode(mask)
    assert len(encoded.values) == entries.sum()
    assert len(encoded.index) == entries.sum() * 4 + 41 * 8 * 16


def test_pointers_that_do_not_reach_are_refused():
    with pytest.raises(InputError, match="64 entries, and pointers of 6 bits reach 63"):
        Relative(4, 1, 6).encode(np.ones((8, 8), dtype=np.bool_))
