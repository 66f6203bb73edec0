"""Iterative magnitude pruning: exact counts, ties, nothing that comes back, controls of the same size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune import models
from autoprune.errors import InputError
from autoprune.masks.ladder import (
    first_masks,
    kept_after,
    pruned_globally,
    pruned_in_layers,
    random_masks,
    shuffled,
)


def weights_of(model):
    return {name: p.detach() for name, p in model.named_parameters() if p.ndim > 1}


def count(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def test_lenets_ladder_is_the_papers_formula_to_one_weight_a_layer():
    weights = weights_of(models.lenet_300_100())
    assert sum(w.numel() for w in weights.values()) == 266_200
    rates = {"fc1.weight": 0.2, "fc2.weight": 0.2, "fc3.weight": 0.1}
    masks = first_masks(weights)
    densities = {}
    for k in range(1, 21):
        masks = pruned_in_layers(weights, masks, rates, k)
        for name, rate in rates.items():
            assert abs(int(masks[name].sum()) - weights[name].numel() * (1 - rate) ** k) <= 0.5
        densities[k] = count(masks) / 266_200
        assert densities[k] == pytest.approx((265_200 * 0.8**k + 1000 * 0.9**k) / 266_200, abs=3 / 266_200)
    published = {3: 0.513, 7: 0.211, 9: 0.135, 12: 0.070, 15: 0.036, 18: 0.019, 20: 0.012}
    assert {k: round(densities[k], 3) for k in published} == published


@pytest.mark.parametrize("across", [False, True])
def test_all_equal_weights_are_counted_exactly_and_negative_ones_stay_like_positive_ones(across):
    weights = {"a": torch.ones(10, 10), "b": -torch.ones(5, 20)}
    masks = first_masks(weights)
    for k in (1, 2, 3):
        before = masks
        if across:
            masks = pruned_globally(weights, masks, 0.2, k)
        else:
            masks = pruned_in_layers(weights, masks, dict.fromkeys(weights, 0.2), k)
        assert count(masks) == sum(kept_after(100, 0.2, k) for _ in weights) if not across else kept_after(200, 0.2, k)
        assert all(bool((masks[name] <= before[name]).all()) for name in masks)
    signed = {"a": torch.tensor([[-3.0, 1.0, -2.0, 0.5]])}
    assert pruned_in_layers(signed, first_masks(signed), {"a": 0.5}, 1)["a"].tolist() == [[True, False, True, False]]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=4),
    st.floats(0.05, 0.9),
    st.integers(0, 2**31),
)
def test_pruned_weights_never_come_back_whatever_training_made_of_them(shapes, rate, seed):
    draws = torch.Generator().manual_seed(seed)
    start = {str(i): torch.randn(shape, generator=draws) for i, shape in enumerate(shapes)}
    total = sum(w.numel() for w in start.values())
    layered = together = first_masks(start)
    for k in range(1, 5):
        trained = {name: torch.randn(w.shape, generator=draws).round() for name, w in start.items()}  # many ties
        before = layered, together
        layered = pruned_in_layers(trained, layered, dict.fromkeys(start, rate), k)
        together = pruned_globally(trained, together, rate, k)
        for name, weight in start.items():
            assert int(layered[name].sum()) == kept_after(weight.numel(), rate, k)
            assert bool((layered[name] <= before[0][name]).all()) and bool((together[name] <= before[1][name]).all())
            assert bool(together[name].any())
        assert count(together) == max(kept_after(total, rate, k), len(start))
    for control in (shuffled(together, draws), random_masks(together, draws)):
        assert count(control) == count(together) and all(bool(mask.any()) for mask in control.values())
    assert {n: int(m.sum()) for n, m in shuffled(layered, draws).items()} == {
        n: int(m.sum()) for n, m in layered.items()
    }


def test_a_rate_that_is_none_and_a_network_that_diverged_are_refused():
    for rate in (0.0, 1.0, -0.1):
        with pytest.raises(InputError, match="above 0 and below 1"):
            kept_after(10, rate, 1)
    weights = {"a": torch.tensor([[1.0, float("nan")]])}
    with pytest.raises(InputError, match="not a number"):
        pruned_in_layers(weights, first_masks(weights), {"a": 0.5}, 1)
