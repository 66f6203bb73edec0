"""Every shipped criterion against a value computed by hand, and Torch-Pruning's order where the definitions agree."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from autoprune.criteria.ranking import ranking
from autoprune.criteria.registry import criterion_of
from autoprune.criteria.statistics import gathered
from autoprune.graph import analyse


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    for module in layers:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 2)
            nn.init.normal_(module.bias)
    return layers.eval()


@pytest.fixture(scope="module")
def batches():
    draw = torch.Generator().manual_seed(0)
    return [(torch.randn(n, 2, 6, 6, generator=draw), torch.arange(n) % 3) for n in (12, 12)]


def scores(name, net, batches, group="0"):
    criterion = criterion_of(name)
    chosen = next(g for g in analyse(net, torch.zeros(1, 2, 6, 6)).groups if g.name == group)
    return criterion.units(net, chosen, gathered(net, batches, criterion.needs))


def relative(values):
    return values.double() / values.double().mean()


def gradients_of(net, batches, parameter):
    found = []
    for images, labels in batches:
        net.zero_grad()
        functional.cross_entropy(net(images), labels).backward()
        found.append(parameter.grad.double().clone())
    net.zero_grad(set_to_none=True)
    return torch.stack(found)


def test_criteria_of_gradients(net, batches):
    weight = net[0].weight.detach().double()
    g = gradients_of(net, batches, net[0].weight)
    by_hand = {
        "gradient": g.abs().mean(0),
        "taylor": (g * weight).abs().mean(0),
        "fisher": (g * weight).square().mean(0) / 2,
    }
    for name, values in by_hand.items():
        assert torch.allclose(scores(name, net, batches), relative(values.sum((1, 2, 3))), rtol=1e-5)


def test_criteria_of_the_activations_that_the_next_layer_reads(net, batches):
    with torch.no_grad():
        seen = torch.cat([net[:3](images) for images, _ in batches]).double()
    assert torch.allclose(scores("activation", net, batches), relative(seen.square().mean((0, 2, 3))), rtol=1e-5)
    zeros = (seen == 0).double().mean((0, 2, 3))
    assert 0 < zeros.min() < zeros.max() and torch.allclose(scores("apoz", net, batches), relative(1 - zeros))


def test_wanda_weighs_every_weight_with_its_input(net, batches):
    images = torch.cat([images for images, _ in batches]).double()
    norms = images.square().sum((0, 2, 3)).sqrt()
    by_hand = (net[0].weight.detach().double().abs() * norms[:, None, None]).sum((1, 2, 3))
    assert torch.allclose(scores("wanda", net, batches), relative(by_hand), rtol=1e-5)


def test_scale_and_geometric_median(net, batches):
    assert torch.allclose(scores("bn_scale", net, ()), relative(net[1].weight.detach().abs()))
    flat = net[0].weight.detach().double().flatten(1)
    by_hand = torch.stack([sum((a - b).norm() for b in flat) for a in flat])
    assert torch.allclose(scores("fpgm", net, ()), relative(by_hand))
    bare = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    group = analyse(bare, torch.zeros(1, 4)).groups[0]
    l1, scale = (criterion_of(name).units(bare, group, {}) for name in ("l1", "bn_scale"))
    assert torch.equal(l1, scale)  # without a BatchNorm


def test_lasso_lets_channels_in_at_the_penalty_at_which_a_solver_does(net, batches):
    """Against the LASSO itself, minimised plainly a little above and below each penalty."""
    criterion = criterion_of("lasso")
    found = scores("lasso", net, batches).numpy()
    moments = gathered(net, batches, criterion.needs)["3.weight"].input_moments[0]
    parts = net[3].weight.detach().double()
    flat = torch.zeros(6, 8, 54, dtype=torch.float64)
    for unit in range(6):
        flat[unit] = torch.where(torch.arange(54) // 9 == unit, parts.flatten(1), 0)
    products = torch.einsum("aoi,ij,boj->ab", flat, moments, flat).numpy()
    top = products.sum(1).max()

    def kept(penalty):  # coordinate descent, to convergence
        beta = np.zeros(6)
        for _ in range(20_000):
            for unit in range(6):
                rest = products[unit].sum() - products[unit] @ beta + products[unit, unit] * beta[unit]
                beta[unit] = np.sign(rest) * max(abs(rest) - penalty, 0) / products[unit, unit]
        return np.abs(beta) > 1e-9

    assert found.max() == 1 and len(set(found.round(6))) == 6
    for unit, score in enumerate(found):
        if score < 0.99:
            assert kept(0.97 * score * top)[unit] and not kept(1.03 * score * top)[unit]


def test_lasso_prefers_one_of_two_channels_that_say_the_same():
    twins = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with torch.no_grad():
        twins[0].weight[1], twins[0].bias[1] = twins[0].weight[0], twins[0].bias[0]
        twins[1].weight[:, 1] = twins[1].weight[:, 0] / 2
    data = [(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 2)]
    order = ranking(twins, analyse(twins, torch.zeros(1, 3)), "lasso", data)["0"]
    assert order.index(0) < order.index(1) == 3


def test_random_is_the_same_again_and_another_for_every_group(net):
    first, again, other = (scores("random", net, (), group) for group in ("0", "0", "3"))
    assert torch.equal(first, again) and not torch.equal(first, other[:6])


@pytest.mark.parametrize("name", ["l1", "l2", "taylor", "bn_scale"])
def test_the_order_is_torch_prunings_where_the_definitions_agree(net, batches, name):
    """Torch-Pruning adds up whole groups; told to look at the producer alone it has ours. Its FPGM drops the signs."""
    tp = pytest.importorskip("torch_pruning", reason="Torch-Pruning is not installed; pip install torch-pruning")
    theirs = {
        "l1": tp.importance.GroupMagnitudeImportance(p=1, group_reduction="first"),
        "l2": tp.importance.GroupMagnitudeImportance(p=2, group_reduction="first"),
        "taylor": tp.importance.GroupTaylorImportance(group_reduction="first"),
        "bn_scale": tp.importance.BNScaleImportance(),
    }[name]
    one = batches[:1]  # it has one gradient, ours are means over batches
    functional.cross_entropy(net(one[0][0]), one[0][1]).backward()
    graph = tp.DependencyGraph().build_dependency(net, example_inputs=torch.zeros(1, 2, 6, 6))
    for layer in ("0", "3"):
        module = net.get_submodule(layer)
        group = graph.get_pruning_group(module, tp.prune_conv_out_channels, idxs=list(range(module.out_channels)))
        expected = torch.argsort(theirs(group), descending=True)
        assert torch.argsort(scores(name, net, one, layer), descending=True).tolist() == expected.tolist()
    net.zero_grad(set_to_none=True)
