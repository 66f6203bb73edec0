"""Spaces, rankings and policies on a network small enough to follow by hand."""

import warnings

import pytest
import torch
from torch import nn

import autoprune
from autoprune.criteria.ranking import importance, kept_units, ranking
from autoprune.errors import InputError, PolicyMismatchError
from autoprune.graph import analyse


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(96, 3),
        )
    return model.eval()


EXAMPLE = torch.zeros(1, 1, 8, 8)


def test_the_space_without_a_target_has_every_width():
    space = autoprune.search_space(network(), EXAMPLE)
    assert [(d.name, d.width, d.options) for d in space.decisions] == [
        ("0", 4, (1, 2, 3, 4)),
        ("3", 6, (1, 2, 3, 4, 5, 6)),
    ]
    assert "6" in space.frozen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_policy_that_knows_its_input_is_applied_without_an_example(dtype):
    model = network().to(dtype)
    policy = autoprune.search_space(model, EXAMPLE.to(dtype)).uniform(0.5)
    given, known = autoprune.apply(model, policy, EXAMPLE.to(dtype)), autoprune.apply(model, policy)
    x = torch.randn(3, 1, 8, 8, dtype=dtype)
    assert torch.equal(given(x), known(x)) and known[0].out_channels == 2
    unknown = policy.model_copy(update={"model": {k: v for k, v in policy.model.items() if k != "example"}})
    with pytest.raises(InputError, match="does not say its model's input"):
        autoprune.apply(model, unknown)


def test_granularity_gives_multiples_and_always_the_whole_width():
    space = autoprune.search_space(network(), EXAMPLE, granularity=4)
    assert [d.options for d in space.decisions] == [(4,), (4, 6)]


@pytest.mark.parametrize("granularity", [0, -4])
@pytest.mark.parametrize("target", [None, "onnxruntime"])
def test_a_granularity_below_one_is_refused_with_and_without_a_target(granularity, target):
    with pytest.raises(InputError, match=f"granularity must be at least 1 channel, not {granularity}"):
        autoprune.search_space(network(), EXAMPLE, target=target, granularity=granularity)


@pytest.mark.parametrize(
    ("target", "granularity", "units"),
    [
        ("onnxruntime", None, (2, 4, 6, 8)),  # the granule of 4 channels is 2 units
        (None, 8, (4, 8)),
        (None, 6, (3, 6, 8)),
        (None, 2, (1, 2, 3, 4, 5, 6, 7, 8)),
        (None, 3, (3, 6, 8)),  # 3 channels are no whole number of units, 6 are
        (None, None, (1, 2, 3, 4, 5, 6, 7, 8)),
    ],
)
def test_granularity_counts_channels_where_a_unit_is_several(target, granularity, units):
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3, groups=2), nn.Conv2d(32, 4, 1)).eval()
    analysis = analyse(model, EXAMPLE)
    assert analysis.group("0").width == 8  # a unit is one channel of either group
    space = autoprune.search_space(model, EXAMPLE, target=target, granularity=granularity)
    assert space["0"].options == units
    small = autoprune.apply(model, space.policy({"0": units[0]}), EXAMPLE)
    assert small[0].out_channels == 2 * units[0]
    assert small[0].out_channels % (granularity or 1) == 0


@pytest.mark.parametrize(("criterion", "order"), [("l1", [2, 0, 3, 1]), ("l2", [2, 0, 3, 1])])
def test_units_are_ranked_by_the_norm_of_their_filters(criterion, order):
    model = network()
    with torch.no_grad():
        for unit, size in enumerate([3.0, 0.5, 4.0, 1.0]):
            model[0].weight[unit] = size / 9
    analysis = analyse(model, EXAMPLE)
    assert ranking(model, analysis, criterion)["0"] == order
    scores = importance(model, analysis.group("0"), criterion)
    torch.testing.assert_close(scores, torch.tensor([3.0, 0.5, 4.0, 1.0], dtype=torch.float64) / 2.125)
    assert kept_units({"0": order}, {"0": 2}) == {"0": [0, 2]}


def test_a_policy_without_units_keeps_the_most_important_and_equals_the_zeroed_network():
    model = network()
    policy = autoprune.search_space(model, EXAMPLE).policy({"0": 2, "3": 3})
    small, zeroed = (autoprune.apply(model, policy, EXAMPLE, zero=zero) for zero in (False, True))
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(small(images), zeroed(images))
    keep = sorted(ranking(model, analyse(model, EXAMPLE))["0"][:2])
    assert torch.equal(small[0].weight, model[0].weight[keep])
    assert {name: t.shape for name, t in zeroed.state_dict().items()} == {
        n: t.shape for n, t in model.state_dict().items()
    }


def test_counts_agree_with_formulas():
    model = network()
    assert autoprune.params(model) == 4 * 9 + 4 + 8 + 6 * 36 + 6 + 96 * 3 + 3
    assert autoprune.flops(model, EXAMPLE) == 36 * 4 * 9 + 16 * 6 * 36 + 96 * 3
    small = autoprune.apply(model, autoprune.search_space(model, EXAMPLE).policy({"0": 2, "3": 3}), EXAMPLE)
    assert autoprune.flops(small, EXAMPLE) == 36 * 2 * 9 + 16 * 3 * 18 + 48 * 3


def test_a_policy_of_another_model_is_refused_with_the_first_layer_that_differs():
    policy = autoprune.search_space(network(), EXAMPLE).uniform(0.5)
    other = nn.Sequential(nn.Conv2d(1, 8, 3), *list(network())[2:3], nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(96, 3))
    with pytest.raises(PolicyMismatchError, match=r"\b0\b"):
        autoprune.apply(other, policy, EXAMPLE)


def test_skipping_keeps_a_layer_and_says_so():
    space = autoprune.search_space(network(), EXAMPLE, skip=["0"])
    assert space.names == ("3",)
    assert "skipped" in space.frozen["0"]
    with pytest.raises(InputError, match="no prunable layer"):
        autoprune.search_space(network(), EXAMPLE, skip=["nope*"])


def test_skipping_what_is_never_pruned_changes_nothing():
    """The output layer stays anyway; a user who asks for it is not sent away."""
    plain = autoprune.search_space(network(), EXAMPLE)
    (output,) = plain.frozen
    assert autoprune.search_space(network(), EXAMPLE, skip=[output]).names == plain.names


def test_an_unknown_criterion_names_the_nearest():
    with pytest.raises(InputError, match="l1"):
        ranking(network(), analyse(network(), EXAMPLE), "l11")


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_filters_of_normed_weights_are_ranked_by_what_they_compute_with(norm) -> None:
    """The length stands apart from the direction: a filter of length 0 is the last, whatever its direction."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one of them is the form of old
        net = nn.Sequential(norm(nn.Conv2d(3, 6, 3)), nn.ReLU(), nn.Conv2d(6, 4, 1))
    length, direction = (p for name, p in net[0].named_parameters() if name != "bias")
    with torch.no_grad():
        direction[2] *= 100
        length[2] = 0
        length[4] = 50
    order = ranking(net, analyse(net, torch.zeros(1, 3, 8, 8)))["0"]
    assert (order[0], order[-1]) == (4, 2)
