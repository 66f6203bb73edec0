"""Criteria: what the one pass gathers, by independent formulas, and that norms are what they were."""

import pytest
import torch
from torch import nn

from autoprune.criteria.base import Criterion
from autoprune.criteria.ranking import Ranking, ranking
from autoprune.criteria.statistics import gathered
from autoprune.errors import InputError
from autoprune.graph import analyse


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.grouped = nn.Conv2d(4, 6, 1, groups=2)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.grouped(torch.relu(self.conv(x)))).mean((2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def batches():
    draw = torch.Generator().manual_seed(0)
    return [(torch.randn(n, 2, 5, 5, generator=draw), torch.arange(n) % 3) for n in (6, 4)]


def test_nothing_is_gathered_that_is_not_needed(net):
    def never():
        raise AssertionError("the batches were asked for")
        yield

    assert gathered(net, never(), frozenset()) == {}


def test_gradients_are_those_of_the_mean_loss_of_every_batch(net, batches):
    known = gathered(net, batches, {"gradients"})
    found = []
    for images, labels in batches:
        net.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        found.append(net.fc.weight.grad.double().clone())
    each = torch.stack(found)
    fc = known["fc.weight"]
    assert torch.allclose(fc.gradient, each.mean(0)) and torch.allclose(fc.absolute_gradient, each.abs().mean(0))
    assert torch.allclose(fc.squared_gradient, each.square().mean(0)) and fc.input_norm is None
    net.zero_grad()
    gathered(net, batches, {"gradients"})
    assert all(p.grad is None for p in net.parameters())  # the model's own gradients are left alone


def test_input_norms_meet_the_weights_that_read_them(net, batches):
    known = gathered(net, batches, {"inputs"})
    images = torch.cat([images for images, _ in batches]).double()
    conv = known["conv.weight"].input_norm
    assert torch.allclose(conv[0, :, 0, 0], images.square().sum((0, 2, 3)).sqrt()) and conv.shape == (4, 2, 1, 1)
    with torch.no_grad():
        middle = torch.relu(net.conv(images.float())).double()
        last = torch.relu(net.grouped(middle.float())).mean((2, 3)).double()
    channels = middle.square().sum((0, 2, 3)).sqrt()
    grouped = known["grouped.weight"].input_norm
    assert grouped.shape == (6, 2, 1, 1) and torch.allclose(grouped[:3, :, 0, 0], channels[:2].expand(3, 2))
    assert torch.allclose(grouped[3:, :, 0, 0], channels[2:].expand(3, 2))
    assert torch.allclose(known["fc.weight"].input_norm, last.square().sum(0).sqrt())
    assert known["fc.weight"].gradient is None


def test_a_criterion_that_needs_data_says_that_there_is_none(net):
    class Taylor(Criterion):
        name = "taylor"
        needs = frozenset({"gradients"})

        def saliency(self, weight, known):
            return (weight * known.gradient).abs()

    with pytest.raises(InputError, match="no calibration images"):
        ranking(net, analyse(net, torch.zeros(1, 2, 5, 5)), Taylor())


def test_taylor_and_fisher_are_a_line_each(net, batches):
    class Taylor(Criterion):
        name = "taylor"
        needs = frozenset({"gradients"})

        def saliency(self, weight, known):
            return weight.abs() * known.absolute_gradient

    order = ranking(net, analyse(net, torch.zeros(1, 2, 5, 5)), Taylor(), batches)
    net.zero_grad()
    total = torch.zeros_like(net.conv.weight, dtype=torch.float64)
    for images, labels in batches:
        net.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        total += (net.conv.weight * net.conv.weight.grad).abs().detach().double()
    by_hand = total.sum((1, 2, 3)).reshape(2, 2)  # a unit is one channel of each group that `grouped` reads
    expected = by_hand[0] / 2 + by_hand[1] / 2
    assert order["conv"] == torch.argsort(expected, descending=True).tolist()


def test_a_ranking_keeps_the_first_and_cuts_from_among_what_was_kept():
    order = Ranking({"a": [3, 0, 2, 1], "block": [0]})
    assert order.kept({"a": 2, "block": 0}) == {"a": [0, 3], "block": []}
    assert order.among({"a": [1, 2]}) == {"a": [2, 1, 3, 0], "block": [0]}
