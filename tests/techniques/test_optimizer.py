"""A step after the cut is the step of the zeroed network at the kept units, momentum and moments included."""

import copy

import pytest
import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.graph import analyse, cut, index_map, zero
from autoprune.techniques.structured.optimizer_state import slice_optimizer

X = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 4, (6,), generator=torch.Generator().manual_seed(1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.inner, self.outer = nn.Conv2d(12, 8, 3, padding=1), nn.Conv2d(8, 12, 1)
        self.fc = nn.Linear(12, 4)

    def forward(self, x):
        x = torch.relu(self.bn(self.stem(x)))
        x = x + self.outer(torch.relu(self.inner(x)))
        return self.fc(x.mean((2, 3)))


def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Residual().double()


def step(net, optimizer, x=X):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x.double()), Y).backward()
    optimizer.step()


def halved(analysis):
    return {group.name: list(range(0, group.width, 2)) for group in analysis.groups}


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_step_after_the_cut_is_the_zeroed_networks_at_the_kept_units(make):
    net = network()
    groups = [{"params": [net.fc.weight, net.fc.bias], "lr": 0.003, "tag": "head"}]
    groups.append({"params": [p for n, p in net.named_parameters() if not n.startswith("fc.")]})
    optimizer = make(groups)
    for k in range(3):
        step(net, optimizer, X.roll(k, 0))
    analysis = analyse(net, X.double())
    kept = halved(analysis)
    small, silent = cut(net, analysis, kept), zero(net, analysis, kept)
    sliced = slice_optimizer(optimizer, net, small, analysis, kept)
    assert type(sliced) is type(optimizer)
    assert sliced.param_groups[0]["tag"] == "head"
    assert [g["lr"] for g in sliced.param_groups] == [g["lr"] for g in optimizer.param_groups]
    by_name = dict(silent.named_parameters())
    first = [by_name["fc.weight"], by_name["fc.bias"]]
    other = make([{"params": first, "tag": "head"}, {"params": [p for n, p in by_name.items() if n[:2] != "fc"]}])
    other.load_state_dict(optimizer.state_dict())
    before = copy.deepcopy(small.state_dict())
    step(small, sliced), step(silent, other)
    for name, p in small.named_parameters():
        expected = by_name[name].detach()
        for dim, index in index_map(analysis, kept).get(name, []):
            expected = expected.index_select(dim, index)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-6, atol=1e-8)  # a step counter may be float32
        assert not torch.equal(p, before[name])


def test_the_dense_networks_optimiser_is_untouched_and_state_is_not_shared():
    net = network()
    optimizer = torch.optim.AdamW(net.parameters())
    step(net, optimizer)
    analysis = analyse(net, X.double())
    before = copy.deepcopy(optimizer.state_dict())
    small = cut(net, analysis, {})
    sliced = slice_optimizer(optimizer, net, small, analysis, {})
    step(small, sliced)
    after = optimizer.state_dict()
    for number, state in before["state"].items():
        assert all(torch.equal(value, after["state"][number][key]) for key, value in state.items())


def test_factored_moments_are_sliced_where_they_have_the_dimension():
    net = network()
    optimizer = torch.optim.Adafactor(net.parameters())
    step(net, optimizer)
    analysis = analyse(net, X.double())
    kept = halved(analysis)
    small = cut(net, analysis, kept)
    sliced = slice_optimizer(optimizer, net, small, analysis, kept)
    dense, mine = optimizer.state[net.fc.weight], sliced.state[small.fc.weight]
    assert torch.equal(mine["row_var"], dense["row_var"])
    assert torch.equal(mine["col_var"], dense["col_var"][:, kept["stem"]])
    step(small, sliced)


def test_state_without_a_parameters_layout_is_refused():
    net = network()
    optimizer = torch.optim.LBFGS(net.parameters())

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(X.double()), Y)
        loss.backward()
        return loss

    optimizer.step(closure)
    analysis = analyse(net, X.double())
    with pytest.raises(InputError, match=r"make a new optimiser for the small network"):
        slice_optimizer(optimizer, net, cut(net, analysis, {}), analysis, {})


def test_what_does_not_belong_together_is_refused():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    analysis = analyse(net, X.double())
    small = cut(net, analysis, halved(analysis))
    with pytest.raises(InputError, match="not the model's"):
        slice_optimizer(optimizer, network(), small, analysis, {})
    with pytest.raises(InputError, match="was not cut by these kept units"):
        slice_optimizer(optimizer, net, small, analysis, {})
