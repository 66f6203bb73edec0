"""Layers of a cut network refitted by least squares: the solution itself, and what has to stay as it is."""

import pytest
import torch
from torch import nn

from autoprune.graph import Selector, analyse, cut, index_map
from autoprune.reconstruction.candidate_weights import Fitting, Recalibrated, Reconstructed
from autoprune.reconstruction.refit import Refit

LAYERS = {
    "3x3": (nn.Conv2d(6, 4, 3, padding=1), (2, 3, 8, 8)),
    "without bias": (nn.Conv2d(6, 4, 3, bias=False), (2, 3, 8, 8)),
    "strided": (nn.Conv2d(6, 4, 3, stride=2, padding=1), (2, 3, 8, 8)),
    "grouped": (nn.Conv2d(6, 4, 3, groups=2), (2, 3, 8, 8)),
    "one-dimensional": (nn.Conv1d(6, 4, 3, padding=1), (2, 3, 20)),
}


class Pair(nn.Module):
    """A layer that is cut, and one that reads it."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second, self.last = first, second, nn.Identity()

    def forward(self, x):
        return self.last(self.second(torch.relu(self.first(x))))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pair(name):
    reader, shape = LAYERS[name]
    convolution = type(reader)
    model = Pair(convolution(shape[1], 6, 1), convolution(**_settings(reader))).eval()
    return model, [(torch.randn(40, *shape[1:]), torch.zeros(40, dtype=torch.int64))]


def _settings(layer):
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")
    return {name: getattr(layer, name) for name in names} | {"bias": layer.bias is not None}


def refitted(model, batches, kept, **options):
    analysis = analyse(model, batches[0][0][:1])
    small = cut(model, analysis, kept)
    Refit(model, batches, **options)(small, index_map(analysis, kept))
    return small


def outputs_error(small, model, batches):
    with torch.no_grad():
        return float((small(batches[0][0]) - model(batches[0][0])).square().mean())


@pytest.mark.parametrize("name", LAYERS)
def test_the_reader_is_the_least_squares_solution(name):
    """No other weights come nearer to the dense outputs: gradient descent from the solution finds nothing better."""
    model, batches = pair(name)
    kept = {"first": [0, 2]}  # units: of the grouped layer, a channel of each group
    raw = cut(model, analyse(model, batches[0][0][:1]), kept)
    small = refitted(model, batches, kept, rows=10**6, ridge=1e-9)
    error = outputs_error(small, model, batches)
    assert error < 0.9 * outputs_error(raw, model, batches)
    with torch.no_grad():
        target = model(batches[0][0])
    loss = (small(batches[0][0]) - target).square().mean()
    gradients = torch.autograd.grad(loss, list(small.second.parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-4


def test_sums_in_blocks_of_single_precision_give_what_double_precision_gives():
    """On 4000 rows whose mean is 20 times their spread, against the ridge solution computed at once in float64."""
    reader = nn.Linear(30, 5)
    model = Pair(nn.Linear(20, 30), reader).eval()
    with torch.no_grad():
        model.first.bias.fill_(20.0)
    batches = [(torch.randn(256, 16, 20), torch.zeros(256, dtype=torch.int64))]
    kept = [unit for unit in range(30) if unit % 3]
    small = refitted(model, batches, {"first": kept}, rows=10**6, ridge=1e-3)
    with torch.no_grad():
        whole = model.first(batches[0][0]).relu().flatten(0, 1)
        wanted, own = reader(whole).double(), reader.weight[:, kept].double()
        rows = torch.cat([whole[:, kept].double(), torch.ones(len(whole), 1, dtype=torch.float64)], dim=1)
        pull = 1e-3 * rows[:, :-1].square().mean() * torch.eye(len(kept) + 1).double()
        pull[-1, -1] = 1e-9
        left = wanted - rows[:, :-1] @ own.T - reader.bias
        change = torch.linalg.solve(rows.T @ rows / len(rows) + pull, rows.T @ left / len(rows)).T
        assert float(change.abs().max()) > 0.1
        assert torch.allclose(small.second.weight.double() - own, change[:, :-1], atol=1e-3 * float(change.abs().max()))


def test_a_depthwise_layer_and_the_one_behind_it_are_refitted_from_what_the_cut_network_gives():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1), nn.Flatten()
    ).eval()
    batches = [(torch.randn(40, 3, 6, 6), torch.zeros(40, dtype=torch.int64))]
    kept = {"0": [0, 2, 3, 5]}
    small = refitted(model, batches, kept)
    assert torch.equal(
        small[2].weight, model[2].weight[kept["0"]]
    )  # each channel reads itself alone, and that is whole
    raw = cut(model, analyse(model, batches[0][0][:1]), kept)
    assert outputs_error(small, model, batches) < 0.8 * outputs_error(raw, model, batches)


def test_a_linear_layer_with_tokens_gets_over_a_unit_that_another_can_replace():
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3)).eval()
    with torch.no_grad():
        model[0].weight[4], model[0].bias[4] = model[0].weight[1], model[0].bias[1]
    batches = [(torch.randn(20, 5, 4), torch.zeros(20, dtype=torch.int64))]
    small = refitted(model, batches, {"0": [0, 1, 2, 3, 5]}, ridge=1e-8)
    assert torch.allclose(small[2].weight[:, 1], model[2].weight[:, 1] + model[2].weight[:, 4], atol=1e-3)
    assert outputs_error(small, model, batches) < 1e-8


def test_what_is_whole_stays_bit_for_bit():
    model, batches = pair("3x3")
    small = refitted(model, batches, {})
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), model.parameters(), strict=True))


def test_masked_weights_stay_zero_and_shared_or_repeated_layers_as_they_are():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.masked, self.twice = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 6)
            self.out = nn.Linear(6, 2)

        def forward(self, x):
            x = torch.relu(self.masked(torch.relu(self.first(x))))
            return self.out(torch.relu(self.twice(torch.relu(self.twice(x)))))

    model = Net().eval()
    with torch.no_grad():
        model.masked.weight[:, ::2] = 0
    batches = [(torch.randn(50, 4), torch.zeros(50, dtype=torch.int64))]
    small = refitted(model, batches, {"first": [0, 1, 2, 5, 6, 7]})
    changed = small.masked.weight != model.masked.weight[:, [0, 1, 2, 5, 6, 7]]
    assert changed.any() and not small.masked.weight[:, [0, 2, 4]].any()
    assert torch.equal(small.twice.weight, model.twice.weight) and not torch.equal(small.out.weight, model.out.weight)


@pytest.mark.parametrize("kind", [Reconstructed, Recalibrated])
def test_candidates_get_the_same_weights_as_a_cut_and_nothing_reaches_the_dense_network(kind):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten()).eval()
    batches = [(torch.randn(30, 3, 7, 7), torch.zeros(30, dtype=torch.int64))]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    analysis = analyse(model, batches[0][0][:1])
    weights, selector = kind(Fitting(model, batches)), Selector(model, analysis)
    for kept in ({"0": [0, 3]}, {"0": [1, 2, 4, 5, 7]}, {"0": [0, 3]}):
        small, plain = selector.select(kept), cut(model, analysis, kept)
        weights.prepare(small, index_map(analysis, kept))
        weights.prepare(plain, index_map(analysis, kept))
        assert all(
            torch.equal(a, b) for a, b in zip(small.state_dict().values(), plain.state_dict().values(), strict=True)
        )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
