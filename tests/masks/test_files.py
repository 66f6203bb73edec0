"""Masks come back from files, and from what other tools left."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from autoprune.errors import InputError
from autoprune.masks.packing import packed, packed_bits, unpacked, unpacked_bits
from autoprune.masks.reading import masks_of_prune, plain_weights, zero_masks


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 2**31))
def test_packed_masks_come_back(shape, seed):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    assert torch.equal(unpacked(packed(mask), shape), mask)
    assert len(packed_bits(mask)) == -(-mask.numel() // 8)
    assert torch.equal(unpacked_bits(packed_bits(mask), shape), mask)


@pytest.mark.parametrize(
    "text", ["", "?", "AAAA", packed(torch.ones(9, 9, dtype=torch.bool)), packed(torch.ones(1, 4) > 0)[:-4]]
)
def test_a_damaged_mask_is_refused(text):
    with pytest.raises(InputError, match="mask"):
        unpacked(text, (4, 4))


def test_a_small_text_does_not_fill_the_memory():
    with pytest.raises(InputError, match="has 2 bytes"):
        unpacked(packed(torch.zeros(10**6, dtype=torch.bool)), (4, 4))


def test_zeros_of_a_checkpoint_are_a_mask():
    weights = {"a.weight": torch.tensor([[0.0, 1.0]]), "a.bias": torch.zeros(2), "b.weight": torch.ones(2, 2)}
    masks = zero_masks(weights | {"count": torch.zeros(1, 1, dtype=torch.int64)})
    assert list(masks) == ["a.weight"] and masks["a.weight"].tolist() == [[False, True]]


def test_masks_of_torchs_own_pruning_are_read():
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    assert masks_of_prune(model) == {}
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    masks = masks_of_prune(model)
    assert list(masks) == ["0.weight"] and torch.equal(masks["0.weight"], model[0].weight_mask.bool())
    plain, found = plain_weights(model.state_dict())
    assert torch.equal(plain["0.weight"], model[0].weight) and torch.equal(found["0.weight"], masks["0.weight"])
    fresh = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    fresh.load_state_dict(plain)
    x = torch.rand(3, 8)
    assert torch.equal(fresh(x), model(x))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(InputError, match="w_mask has the shape"):
        plain_weights({"w_orig": torch.ones(2, 2), "w_mask": torch.ones(2)})
