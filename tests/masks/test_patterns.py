"""Patterns keep exact counts, of the most important weights, at any width."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.errors import InputError
from autoprune.masks.blocks import Blocks
from autoprune.masks.both_ways import NofMBothWays
from autoprune.masks.n_of_m import NofM
from autoprune.masks.parsing import pattern_of
from autoprune.masks.planes import Planes
from autoprune.masks.unstructured import Unstructured, global_masks


@st.composite
def n_of_m(draw):
    m = draw(st.integers(2, 16))
    return draw(st.integers(1, m)), m


def saliency_of(shape, seed, ties):
    """Random saliencies; with `ties` of four values only, so that most are equal to others."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 4, shape, generator=draw).double() if ties else torch.rand(shape, generator=draw)


SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 40))


@settings(max_examples=1000, deadline=None)
@given(n_of_m(), SHAPES, st.integers(0, 2**31), st.booleans())
def test_every_group_keeps_exactly_n_of_its_most_important_weights(counts, shape, seed, ties):
    n, m = counts
    pattern = NofM(n, m)
    if pattern.why_not(shape):
        assert shape[2] <= n < m  # nothing would go
        return
    saliency = saliency_of(shape, seed, ties)
    mask = pattern.mask(saliency)
    assert mask.shape == saliency.shape and int(mask.sum()) == pattern.kept(shape)
    for row, kept in zip(saliency.reshape(-1, shape[2]), mask.reshape(-1, shape[2]), strict=True):
        for start in range(0, shape[2], m):
            values, stays = row[start : start + m], kept[start : start + m]
            assert int(stays.sum()) == min(n, len(values))
            if not stays.all():
                assert values[stays].min() >= values[~stays].max()
    assert pattern.fault(mask) is None
    again = pattern.mask(saliency * mask)
    assert torch.equal(pattern.mask(saliency.clone()), mask)  # ties are decided the same every time
    assert ties or torch.equal(again, mask)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3), st.integers(2, 4), st.integers(1, 2), st.integers(1, 3), st.integers(0, 2**31))
def test_both_ways_rows_and_columns_keep_n(n, m, down, across, seed):
    n = min(n, m)
    pattern = NofMBothWays(n, m)
    saliency = saliency_of((2, down * m, across * m), seed, ties=False)
    mask = pattern.mask(saliency)
    assert (mask.unflatten(2, (-1, m)).sum(dim=3) == n).all()
    assert (mask.unflatten(1, (-1, m)).sum(dim=2) == n).all()
    assert int(mask.sum()) == pattern.kept(tuple(mask.shape)) and pattern.fault(mask) is None


def test_both_ways_is_the_best_of_all_squares():
    saliency = torch.rand(1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    rows = [torch.tensor([p in pair for p in range(4)]) for pair in itertools.combinations(range(4), 2)]
    squares = [torch.stack(four) for four in itertools.product(rows, repeat=4)]
    best = max(float(saliency[0][s].sum()) for s in squares if (s.sum(dim=0) == 2).all())
    assert float(saliency[NofMBothWays(2, 4).mask(saliency)].sum()) == pytest.approx(best, abs=1e-12)


@settings(max_examples=300, deadline=None)
@given(SHAPES, st.floats(0, 0.999), st.integers(0, 2**31), st.booleans())
def test_unstructured_counts_are_exact(shape, zeros, seed, ties):
    pattern = Unstructured(zeros)
    if pattern.why_not(shape):
        return
    saliency = saliency_of(shape, seed, ties)
    mask, count = pattern.mask(saliency), math.prod(shape)
    gone = int((~mask).sum())
    assert abs(gone - zeros * count) <= 0.5 + 1e-6 or gone == count - 1
    assert int(mask.sum()) == pattern.kept(shape) >= 1
    assert not gone or saliency[mask].min() >= saliency[~mask].max()
    assert pattern.fault(mask) is None


@settings(max_examples=300, deadline=None)
@given(SHAPES, st.sampled_from([(1, 4), (4, 4), (4, 1), (16, 16), (3, 5)]), st.floats(0, 0.99), st.integers(0, 2**31))
def test_blocks_stay_or_go_whole(shape, block, zeros, seed):
    pattern = Blocks(zeros, *block)
    if pattern.why_not(shape):
        return
    mask = pattern.mask(saliency_of(shape, seed, ties=True))
    stays = total = 0
    for plane in mask:
        for top, left in itertools.product(range(0, shape[1], block[0]), range(0, shape[2], block[1])):
            own = plane[top : top + block[0], left : left + block[1]]
            assert own.all() or not own.any()
            total, stays = total + 1, stays + int(own.any())
    assert abs((total - stays) - zeros * total) <= 0.5 + 1e-6 or stays == 1
    assert int(mask.sum()) <= pattern.kept(shape) and pattern.fault(mask) is None


def test_a_global_share_takes_the_least_of_all_and_leaves_every_tensor_one():
    saliencies = {"small": torch.full((2, 5), 1e-6), "a": torch.rand(4, 10) + 1, "b": torch.rand(3, 10) + 1}
    masks = global_masks(saliencies, 0.5)
    assert sum(int(mask.sum()) for mask in masks.values()) == 40
    assert int(masks["small"].sum()) == 1
    kept = torch.cat([saliencies[n][masks[n]] for n in ("a", "b")])
    gone = torch.cat([saliencies[n][~masks[n]] for n in ("a", "b")])
    assert kept.min() >= gone.max()
    with pytest.raises(InputError, match="fewer than one for each of 3 layers"):
        global_masks(saliencies, 0.99)


def test_a_fault_names_the_place():
    mask = torch.ones(1, 2, 8, dtype=torch.bool)
    mask[0, 0, [1, 2, 4, 7]] = False
    assert NofM(2, 4).fault(mask) == ("4 weights of output 1, inputs 0 to 3, are not zero, where 2:4 allows 2")
    mask[0, 1, [1, 2, 4, 7]] = False
    assert NofM(2, 4).fault(mask) is None
    both = NofMBothWays(1, 2)
    assert "along the outputs" in both.fault(torch.tensor([[[1.0, 0.0], [3.0, 0.0]]]))
    assert "3 of 4 weights are not zero" in Unstructured(0.5).fault(torch.tensor([[[1.0, 1.0, 1.0, 0.0]]]))
    assert "2 blocks of 1x2" in Blocks(0.5, 1, 2).fault(torch.ones(1, 1, 4))


@pytest.mark.parametrize(
    "text", ["2:4", "1:4", "4:8", "2:4-both", "4x4:0.75", "unstructured:0.9", "unstructured:0.9-global"]
)
def test_a_pattern_is_read_back_from_its_name(text):
    assert pattern_of(text).name == text


def test_shares_may_be_written_as_percentages_and_blocks_go_by_halves():
    assert pattern_of("unstructured:90%") == Unstructured(0.9)
    assert pattern_of(" 4X4 ") == Blocks(0.5, 4, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4:2", "keeps 4 of 2 weights"),
        ("0:4", "keeps 0 of 4 weights"),
        ("1:1", "groups of 2 to"),
        ("2:999999", "groups of 2 to"),
        ("2:8-both", "groups up to 4 only"),
        ("unstructured:1.5", "below 1, not 1.5"),
        ("unstructured:100%", "below 1, not 1"),
        ("unstructured:1.2.3", "no share of zeros"),
        ("1x1:0.5", "is none"),
        ("0x4:0.5", "is none"),
        ("two-four", "unknown pattern 'two-four'; write 2:4"),
    ],
)
def test_what_is_no_pattern_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        pattern_of(text)


def test_a_matrix_that_cannot_hold_the_pattern_is_refused_with_the_reason():
    with pytest.raises(InputError, match="2:4 cannot be had of 1 x 8 x 2 weights: it has 2 inputs"):
        NofM(2, 4).mask(torch.rand(1, 8, 2))
    with pytest.raises(InputError, match="multiples of 4"):
        NofMBothWays(2, 4).mask(torch.rand(1, 6, 8))
    with pytest.raises(InputError, match="not a number"):
        NofM(2, 4).mask(torch.full((1, 1, 4), torch.nan))
    with pytest.raises(InputError, match="planes, outputs, inputs"):
        NofM(2, 4).mask(torch.rand(4, 4))


@pytest.mark.parametrize(
    ("planes", "shape", "expected"),
    [(Planes(), (6, 5), (1, 6, 5)), (Planes(), (6, 5, 3, 2), (6, 6, 5)), (Planes(0, 1), (5, 6), (1, 6, 5))],
)
def test_a_weight_goes_to_planes_and_back(planes, shape, expected):
    weight = torch.arange(math.prod(shape)).reshape(shape)
    stack = planes.of(weight)
    assert tuple(stack.shape) == planes.shape(shape) == expected
    assert torch.equal(planes.back(stack, weight), weight)


def test_groups_of_a_convolution_run_along_its_input_channels():
    weight = torch.zeros(1, 4, 3, 3)
    weight[0, :, 1, 2] = torch.tensor([3.0, 1.0, 2.0, 0.5])
    mask = Planes().back(NofM(2, 4).mask(Planes().of(weight)), weight)
    assert mask[0, :, 1, 2].tolist() == [True, False, True, False]
    assert (mask.sum(dim=1) == 2).all()
