"""Patterns of accelerators: exact counts in every group, held against groups that are cut out by hand."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.errors import InputError
from autoprune.masks.base import Graded
from autoprune.masks.groups.banks import BankBalanced
from autoprune.masks.groups.columns import ColumnBalanced
from autoprune.masks.groups.hierarchy import HierarchicalNofM
from autoprune.masks.groups.whole import WholeUnits
from autoprune.masks.n_of_m import NofM
from autoprune.masks.parsing import family_of, pattern_of

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 20))
FAMILIES = ("unstructured", "N:4", "2:4/N:3", "3x2", "vector:4", "bank:3", "column:4", "kernel", "filter")


def saliency_of(shape, seed):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows_of(planes):
    """The matrix of an accelerator by hand: (outputs, positions of the kernel x input channels)."""
    return [[float(planes[p, o, i]) for p in range(planes.shape[0]) for i in range(planes.shape[2])]
            for o in range(planes.shape[1])]  # fmt: skip


def best_of(values, count):
    """The sum of the largest values: what a group keeps at most."""
    return sum(sorted(values, reverse=True)[:count])


@settings(max_examples=200, deadline=None)
@given(SHAPES, st.integers(1, 5), st.floats(0, 0.95), st.integers(0, 2**31))
def test_every_bank_keeps_its_most_important_weights(shape, banks, zeros, seed):
    pattern = BankBalanced(zeros, banks)
    if pattern.why_not(shape):
        return
    saliency = saliency_of(shape, seed)
    mask, size = pattern.mask(saliency), -(-shape[0] * shape[2] // banks)
    count = size - min(round(size * zeros + 1e-9), size - 1)
    for row, stays in zip(rows_of(saliency), rows_of(mask), strict=True):
        for first in range(0, len(row), size):
            bank, kept = row[first : first + size], stays[first : first + size]
            assert sum(kept) == min(count, len(bank))
            assert sum(v * k for v, k in zip(bank, kept, strict=True)) == pytest.approx(best_of(bank, count))
    assert int(mask.sum()) == pattern.kept(shape) and pattern.fault(mask) is None


@settings(max_examples=200, deadline=None)
@given(SHAPES, st.integers(1, 5), st.floats(0, 0.95), st.integers(0, 2**31))
def test_every_element_keeps_as_many_weights_of_every_column(shape, elements, zeros, seed):
    pattern = ColumnBalanced(zeros, elements)
    if pattern.why_not(shape):
        return
    saliency = saliency_of(shape, seed)
    mask, size = pattern.mask(saliency), -(-shape[1] // elements)
    count = size - min(round(size * zeros + 1e-9), size - 1)
    values, stays = rows_of(saliency), rows_of(mask)
    for element, column in itertools.product(range(elements), range(shape[0] * shape[2])):
        mine = [values[row][column] for row in range(element, shape[1], elements)]
        kept = [stays[row][column] for row in range(element, shape[1], elements)]
        assert sum(kept) == min(count, len(mine))
        assert sum(v * k for v, k in zip(mine, kept, strict=True)) == pytest.approx(best_of(mine, count))
    assert int(mask.sum()) == pattern.kept(shape) and pattern.fault(mask) is None


@settings(max_examples=100, deadline=None)
@given(SHAPES, st.integers(0, 2**31))
def test_a_hierarchy_keeps_the_best_blocks_of_the_best_weights(shape, seed):
    pattern = HierarchicalNofM(NofM(2, 4), NofM(1, 2))
    if pattern.why_not(shape):
        return
    saliency = saliency_of(shape, seed)
    mask = pattern.mask(saliency)
    for values, kept in zip(saliency.reshape(-1, shape[2]), mask.reshape(-1, shape[2]), strict=True):
        for first in range(0, shape[2], 8):
            blocks = [values[b : b + 4].tolist() for b in range(first, min(first + 8, shape[2]), 4)]
            best = max(best_of(block, 2) for block in blocks)
            assert float((values * kept)[first : first + 8].sum()) == pytest.approx(best)
    assert int(mask.sum()) <= pattern.kept(shape) and pattern.fault(mask) is None
    assert shape[2] % 8 or int(mask.sum()) == pattern.kept(shape) == shape[0] * shape[1] * shape[2] // 4


@settings(max_examples=100, deadline=None)
@given(SHAPES, st.sampled_from(["kernel", "filter"]), st.floats(0, 0.95), st.integers(0, 2**31))
def test_kernels_and_filters_stay_or_go_whole(shape, unit, zeros, seed):
    pattern = WholeUnits(zeros, unit)
    if pattern.why_not(shape):
        return
    saliency = saliency_of(shape, seed)
    mask = pattern.mask(saliency)
    own = mask.flatten(2).transpose(0, 1) if unit == "filter" else mask.flatten(1).T
    own = own.flatten(1)
    assert bool((own.all(dim=1) | ~own.any(dim=1)).all())
    worth = (saliency.mean(dim=(0, 2)) if unit == "filter" else saliency.mean(dim=0)).flatten()
    stays = own.any(dim=1)
    assert bool(stays.all()) or worth[stays].min() >= worth[~stays].max()
    assert int(mask.sum()) == pattern.kept(shape) and pattern.fault(mask) is None


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FAMILIES), SHAPES, st.integers(1, 100), st.integers(0, 2**31))
def test_a_family_keeps_what_its_amount_says(text, shape, amount, seed):
    family = family_of(text)
    assert family.family == text or text == "vector:4"
    units = family.units(shape)
    kept = max(family.step, amount % max(units, 1) // family.step * family.step)
    if not 0 < kept < units or (pattern := family.keeping(kept, shape)).why_not(shape):
        return
    assert isinstance(pattern, Graded) and pattern.family == family.family
    assert pattern.units(shape) == units
    mask = pattern.mask(saliency_of(shape, seed))
    assert pattern.fault(mask) is None and 0 < int(mask.sum()) <= pattern.kept(shape)
    if all(size % 12 == 0 for size in (shape[1], shape[2])):
        assert pattern.density(shape) == pytest.approx(kept / units)


@pytest.mark.parametrize("text", ["2:4/1:2", "bank:4:0.75", "column:8:0.875", "kernel:0.5", "filter:0.25", "4x1:0.5"])
def test_a_pattern_is_read_back_from_its_name(text):
    assert pattern_of(text).name == text
    assert pattern_of("vector:4:50%").name == "4x1:0.5"


@pytest.mark.parametrize(
    ("text", "shape", "reason"),
    [
        ("column:16:0.5", (9, 16, 16), "16 rows over 16 elements leave each less than 2 weights of a column"),
        ("column:4:0.875", (9, 16, 16), "fewer than 1 / 0.125: take at most 2 elements, or at most 0.75 zeros"),
        ("bank:4:0.9", (1, 8, 24), "a bank of 6 weights would keep less than one; at most 0.833 may be zero"),
        ("bank:16:0.5", (1, 8, 24), "a row of 24 weights gives 16 banks less than 2 each"),
        ("kernel:0.5", (1, 8, 8), "its kernel is a single weight"),
        ("filter:0.5", (9, 1, 8), "it has a single filter"),
        ("2:4/1:2", (1, 8, 4), "it has 4 inputs, and 2:4/1:2 keeps 1 of its 1 blocks"),
    ],
)
def test_a_weight_that_cannot_have_the_pattern_is_refused_with_the_reason(text, shape, reason):
    assert reason in pattern_of(text).why_not(shape)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bank:0:0.5", "a row of 0 banks is none"),
        ("column:0:0.5", "0 processing elements are none"),
        ("bank:4:1.5", "below 1, not 1.5"),
        ("bank:4", "unknown pattern 'bank:4'"),
        ("kernel:1", "below 1, not 1"),
        ("4:2/1:2", "keeps 4 of 2 weights"),
    ],
)
def test_what_is_no_pattern_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        pattern_of(text)


@pytest.mark.parametrize("text", ["2:4", "bank:4:0.5", "rows", "", "N:1"])
def test_what_is_no_family_is_refused(text):
    with pytest.raises(InputError, match="unknown family of patterns"):
        family_of(text)


def test_a_fault_names_the_group():
    ones = torch.ones(1, 4, 8)
    assert "4 weights of output 0, bank 0 are not zero, where bank:2:0.5 allows 2" in BankBalanced(0.5, 2).fault(ones)
    assert "2 weights of column 0 at element 0" in ColumnBalanced(0.5, 2).fault(ones)
    assert "counted in blocks of 4 inputs" in HierarchicalNofM(NofM(4, 4), NofM(1, 2)).fault(ones)
    assert "4 filters are not zero, where filter:0.5 allows 2" in WholeUnits(0.5, "filter").fault(ones)
