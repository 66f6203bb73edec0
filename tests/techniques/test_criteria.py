"""Criteria: what the one pass gathers, by independent formulas, and that norms are what they were."""

import copy

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


class Odd(nn.Module):
    """Weights that no linear layer's call shows: attention's, a plain parameter, one turned round, a shared one."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.cross = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
        self.table, self.turned = nn.Parameter(torch.randn(8, 5)), nn.Parameter(torch.randn(5, 5))
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight

    def forward(self, x):
        y = self.attention(x, 2 * x, 3 * x, need_weights=False)[0]
        z = self.cross(y, x[..., :6], x[..., :4], need_weights=False)[0]
        t = z @ self.table
        return self.second(self.first(t @ self.turned.T)).mean(1)


def norms_of(given):
    return given.detach().double().square().flatten(0, -2).sum(0).sqrt()


@pytest.mark.parametrize("grad", [False, True])
def test_inputs_of_attention_of_plain_parameters_and_of_shared_weights_are_seen(grad):
    torch.manual_seed(0)
    net, x = Odd().eval(), torch.randn(6, 3, 8)
    half = [(part, torch.zeros(3, dtype=torch.int64)) for part in x.split(3)]
    known = {k: v.input_norm for k, v in gathered(net, half, {"inputs", "gradients"} if grad else {"inputs"}).items()}
    wide = known["attention.in_proj_weight"].expand(24, 8)
    for start, times in ((0, 1), (8, 2), (16, 3)):
        assert torch.allclose(wide[start : start + 8], (times * norms_of(x)).expand(8, 8))
    attention, contexts = copy.deepcopy(net.attention), []
    for module in (attention, cross := copy.deepcopy(net.cross)):
        nn.init.eye_(module.out_proj.weight)
        nn.init.zeros_(module.out_proj.bias)
    with torch.no_grad():
        contexts.append(attention(x, 2 * x, 3 * x)[0])
        y = net.attention(x, 2 * x, 3 * x)[0]
        contexts.append(cross(y, x[..., :6], x[..., :4])[0])
        z = net.cross(y, x[..., :6], x[..., :4])[0]
        t = z @ net.table
        first = net.first(t @ net.turned.T)
    assert torch.allclose(known["attention.out_proj.weight"], norms_of(contexts[0]), rtol=1e-4)
    assert torch.allclose(known["cross.out_proj.weight"], norms_of(contexts[1]), rtol=1e-4)
    assert torch.allclose(known["cross.q_proj_weight"], norms_of(y), rtol=1e-4)
    assert torch.allclose(known["cross.k_proj_weight"], norms_of(x[..., :6]), rtol=1e-4)
    assert torch.allclose(known["table"], norms_of(z)[:, None], rtol=1e-4)
    assert torch.allclose(known["turned"], norms_of(t), rtol=1e-4)
    both = (norms_of(t @ net.turned.T).square() + norms_of(first).square()).sqrt()
    assert torch.allclose(known["first.weight"], both, rtol=1e-4)
    assert "second.weight" not in known


def test_inputs_of_the_conv1d_of_transformers_are_seen():
    conv = pytest.importorskip("transformers.pytorch_utils", reason="transformers is not installed").Conv1D
    torch.manual_seed(0)
    net, x = nn.Sequential(conv(6, 8), nn.Flatten()).eval(), torch.randn(4, 3, 8)
    known = gathered(net, [(x, torch.zeros(4, dtype=torch.int64))], {"inputs"})["0.weight"]
    assert torch.allclose(known.input_norm, norms_of(x)[:, None]) and float(known.input_zeros.max()) == 0
