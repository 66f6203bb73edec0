"""Networks that keep state, draw random numbers, mask with infinity or compute with complex numbers."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autoprune.errors import UnsupportedModelError
from autoprune.graph import analyse, cut, zero
from autoprune.models.state import state_kept

X = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))


class Body(nn.Module):
    """Two linear layers and something in between, for (N, 5)."""

    def __init__(self, between=None):
        super().__init__()
        self.a, self.b, self.between = nn.Linear(5, 8), nn.Linear(8, 4), between

    def forward(self, x):
        return self.b(self.between(torch.relu(self.a(x))))


class Remembering(Body):
    """The mean of its last run, kept in one of many ways, goes into the next."""

    def __init__(self, way):
        super().__init__()
        self.way, self.kept = way, {"dict": {}, "list": [0.0], "object": SimpleNamespace(h=0.0)}.get(way, 0.0)
        if way in ("buffer", "rebound"):
            self.kept = None
            self.register_buffer("h", torch.zeros(1, 4))

    def forward(self, x):
        before = self.read()
        y = self.b(torch.tanh(self.a(x))) + before
        self.write(y.detach().mean(0, keepdim=True))
        return y

    def read(self):
        if self.way in ("buffer", "rebound"):
            return self.h
        if self.way == "dict":
            return self.kept.get("h", 0.0)
        return self.kept[0] if self.way == "list" else getattr(self.kept, "h", self.kept)

    def write(self, state):
        if self.way == "buffer":
            self.h.copy_(state)
        elif self.way == "rebound":
            self.h = state
        elif self.way == "dict":
            self.kept["h"] = state
        elif self.way == "list":
            self.kept[0] = state
        elif self.way == "object":
            self.kept.h = state
        else:
            self.kept = state


WAYS = ["buffer", "rebound", "dict", "list", "object", "attribute"]


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_undone_whatever_keeps_the_state(way):
    net = Remembering(way)
    net(X)  # a state that is not the first one
    first, second = net(X), None
    net.write(torch.ones(1, 4))
    with torch.no_grad(), state_kept(net):
        first = net(X)
        assert not torch.equal(net.read(), torch.ones(1, 4))
    assert torch.equal(net.read(), torch.ones(1, 4))
    with torch.no_grad(), state_kept(net):
        second = net(X)
    assert torch.equal(first, second)


def test_what_a_run_returned_stays_when_it_is_undone():
    net = Remembering("buffer")
    net.forward = lambda x: net.h.copy_(x[:1, :4])
    with torch.no_grad(), state_kept(net):
        out = net(X).detach()
    assert torch.equal(out, X[:1, :4])
    assert not net.h.any()


def test_each_run_of_the_proof_starts_from_the_same_state():
    class Wide(Body):
        def __init__(self, norm):
            super().__init__()
            self.norm = norm
            self.register_buffer("h", torch.zeros(1, 8))

        def forward(self, x):
            y = torch.tanh(self.norm(self.a(x) + self.h))
            self.h.copy_(y.mean(0, keepdim=True))
            return self.b(y)

    for net in (Wide(nn.Identity()), Wide(nn.LayerNorm(8)), Remembering("buffer")):
        assert {g.name: g.width for g in analyse(net, X).groups} == {"a": 8}
        assert not net.h.any()


def _noisy(h):
    return h + 0.1 * torch.randn_like(h)


@pytest.mark.parametrize(
    "between",
    [
        lambda h: F.dropout(h, 0.5, training=True),
        lambda h: F.feature_alpha_dropout(h, 0.5, True),
        lambda h: h * torch.bernoulli(torch.full_like(h, 0.5)),
        lambda h: h + torch.empty_like(h).normal_(),
        _noisy,
    ],
    ids=["dropout", "feature_alpha_dropout", "bernoulli", "normal", "randn_like"],
)
def test_units_that_draw_their_own_random_numbers_can_go(between):
    net = Body(between)
    assert {g.name: g.width for g in analyse(net, X).groups} == {"a": 8}


def test_logits_masked_with_minus_infinity_are_compared_where_they_are_finite():
    class Masked(Body):
        def forward(self, x):
            logits = self.b(torch.relu(self.a(x)))
            return logits.masked_fill(x[:, :4] > 0, -torch.inf)

    net = Masked()
    analysis = analyse(net, X)
    assert {g.name: g.width for g in analysis.groups} == {"a": 8}
    kept = {"a": [1, 6]}
    assert torch.equal(cut(net, analysis, kept)(X).isinf(), zero(net, analysis, kept)(X).isinf())


def test_a_network_that_returns_nan_is_refused_for_that():
    with pytest.raises(UnsupportedModelError, match="returns NaN"):
        analyse(Body(lambda h: h * torch.nan), X)


def test_a_forward_that_raises_on_random_weights_and_inputs_is_said_to_raise():
    class Picky(Body):
        def forward(self, x):
            if x.dtype is torch.float64 or not torch.compiler.is_compiling():
                raise ValueError("only when exported")
            return self.b(self.a(x))

    with pytest.raises(UnsupportedModelError, match=r"forward fails .*ValueError: only when exported"):
        analyse(Picky(), X)


def test_complex_parameters_keep_their_imaginary_part_in_the_proof():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(3, 3, dtype=torch.cfloat))
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            mixed = torch.fft.irfft(torch.fft.rfft(x) @ self.w, n=4)
            return self.b(torch.relu(self.a(mixed)))

    net = Spectral()
    before = copy.deepcopy(net.state_dict())
    assert {g.name: g.width for g in analyse(net, X[:, :4]).groups} == {"a": 6}
    assert torch.equal(net.w, before["w"])
