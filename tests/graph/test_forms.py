"""Inputs by position and keyword, refusals with the user's line, what outlives a cut, memory over many candidates."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor, nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph import Selector, analyse, cut, zero
from tests.support.cut_checks import assert_only_silenced, drawn, tensors
from tests.support.nets.forms import Answers, Autocast, Branching, TwoInputs
from tests.support.nets.plain import Net, conv, plain
from tests.support.nets.weights import OnlyTied, old_weight_norm, recurrent

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(1, 3, 8, 8, generator=GENERATOR)
LINE = torch.randn(1, 5, generator=GENERATOR)


@pytest.mark.parametrize(
    ("example", "groups"),
    [
        ((X, LINE), {"a": 8, "c": 6}),
        ((X, LINE, 3.0), {"a": 8, "c": 6}),
        ({"image": X, "line": LINE}, {"a": 8, "c": 6}),
        ({"line": LINE, "image": X, "mask": None}, {"a": 8, "c": 6}),
        ({"line": LINE, "image": X, "mask": torch.ones(1, 6, 1, 1)}, {"a": 8}),
    ],
    ids=["position", "number", "keyword", "none", "mask as wide as a layer"],
)
def test_several_inputs(example: Any, groups: dict[str, int]) -> None:
    net = TwoInputs().eval()
    analysis = analyse(net, example)
    assert {group.name: group.width for group in analysis.groups} == groups
    args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
    for seed in range(4):
        kept = drawn(analysis, seed)
        with torch.no_grad():
            out = cut(net, analysis, kept)(*args, **kwargs)
            torch.testing.assert_close(out, zero(net, analysis, kept)(*args, **kwargs), rtol=1e-5, atol=1e-6)
            assert torch.equal(Selector(net, analysis).select(kept)(*args, **kwargs), out)


def test_a_forward_may_write_to_its_input() -> None:
    net = Net(lambda n, x: n.b(torch.relu(n.a(x.sub_(0.5)))), a=nn.Linear(5, 8), b=nn.Linear(8, 4)).eval()
    given = LINE.clone()
    analysis = analyse(net, given)
    assert {group.name: group.width for group in analysis.groups} == {"a": 8}
    assert torch.equal(given, LINE)
    kept = {"a": [1, 4]}
    with torch.no_grad():
        expected = zero(net, analysis, kept)(LINE.clone())
        torch.testing.assert_close(cut(net, analysis, kept)(LINE.clone()), expected)


def test_a_forward_may_pop_from_its_argument() -> None:
    net = Net(lambda n, x: n.b(torch.relu(n.a(x.pop("line")))), a=nn.Linear(5, 8), b=nn.Linear(8, 4)).eval()
    given = ({"line": LINE},)
    assert [group.name for group in analyse(net, given).groups] == ["a"]
    assert list(given[0]) == ["line"]


@pytest.mark.parametrize(
    ("form", "word"),
    [(lambda one, other: (t for t in (one, other)), "generator"), (lambda one, other: {one, other}, "set of tensors")],
    ids=["iterator", "set"],
)
def test_outputs_that_cannot_be_compared_are_refused(form: Any, word: str) -> None:
    with pytest.raises(UnsupportedModelError, match=word):
        analyse(Answers(form).eval(), X)


@pytest.mark.parametrize(
    ("way", "why", "remedy"),
    [
        ("if", "depends on values", "torch.where"),
        ("item", "depends on values", "torch.where"),
        ("while", "depends on values", "torch.where"),
        ("numpy", "leaves torch for NumPy", "torch operators"),
    ],
)
def test_what_cannot_be_traced_is_refused_with_line_and_remedy(way: str, why: str, remedy: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        analyse(Branching(way).eval(), X)
    first, second = str(caught.value).splitlines()
    assert "forms.py:" in first
    assert why in first
    assert remedy in second


def test_a_mask_over_samples_freezes_only_what_it_looks_at() -> None:
    analysis = analyse(Branching("mask").eval(), X.abs())
    assert [group.name for group in analysis.groups] == ["b"]
    assert "summed over by aten.sum" in analysis.frozen["a"]


def test_a_region_in_lower_precision_is_no_obstacle() -> None:
    class Mixed(Autocast):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                x = self.b(self.a(x).relu())
            return self.fc(x.float().mean((2, 3)))

    net = Mixed().eval()
    analysis = analyse(net, X)
    assert {group.name for group in analysis.groups} == {"a", "b"}
    assert cut(net, analysis, {"a": [1, 2], "b": [0, 5]})(X).isfinite().all()


def test_recurrent_layers_stay_of_one_piece() -> None:
    """The list of weights that a recurrent layer runs on is the one that its parameters are."""
    net = recurrent(nn.LSTM, num_layers=2, bidirectional=True).eval()
    x = torch.randn(1, 4, 5, generator=GENERATOR)
    analysis = analyse(net, x)
    kept = {"rnn": [0, 4, 5], "a": [1, 2]}
    small = cut(net, analysis, kept)
    selected = Selector(net, analysis).select(kept)
    for one in (small, selected):
        rnn = one.rnn
        assert (rnn.input_size, rnn.hidden_size) == (2, 3)
        assert all(a is b for a, b in zip(rnn.parameters(), rnn._flat_weights, strict=True))
    small(x).sum().backward()
    assert all(p.grad is not None for p in small.parameters())


def test_a_network_with_weight_norms_of_old_trains_on_after_the_cut() -> None:
    net = old_weight_norm()
    analysis = analyse(net, X)
    small = cut(net, analysis, {"0": [0, 3, 6], "4": range(8)})
    assert small[4].weight_v.shape == (8, 3, 3, 3)
    assert small[4].weight_g.shape == (8, 1, 1, 1)
    optimiser = torch.optim.SGD(small.parameters(), lr=0.1)
    before = small(X)
    before.sum().backward()
    optimiser.step()
    assert not torch.equal(small(X), before)
    assert net[4].weight_v.shape == (12, 8, 3, 3)


def test_an_embedding_that_is_the_output_stays_tied() -> None:
    net, x = OnlyTied().eval(), torch.randn(1, 4, 5, generator=GENERATOR)
    analysis = analyse(net, x)
    group = analysis.group("wte")
    assert (group.producers, group.consumers) == (("wte",), ("wte",))
    kept = {"wte": [0, 2, 5]}
    assert_only_silenced(net, zero(net, analysis, kept), analysis, kept)
    assert cut(net, analysis, kept).wte.weight.shape == (7, 3)


def test_a_thousand_candidates_in_a_row_take_no_memory() -> None:
    net = plain().eval()
    analysis = analyse(net, X)
    selector, process = Selector(net, analysis), psutil.Process()

    def candidates(count: int) -> None:
        with torch.no_grad():
            for seed in range(count):
                selector.select(drawn(analysis, seed))(X)

    candidates(100)
    gc.collect()
    before = process.memory_info().rss
    candidates(1000)
    gc.collect()
    assert process.memory_info().rss < 1.01 * before


def test_frozen_parameters_stay_frozen_and_alone() -> None:
    net = Net(lambda n, x: n.b(torch.relu(n.a(x))), a=conv(3, 8), b=conv(8, 4))
    net.a.weight.requires_grad_(False)
    analysis = analyse(net, X)
    small = cut(net, analysis, {"a": [0, 1]})
    assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in net.parameters()]


def test_warnings_of_the_users_forward_do_not_escape() -> None:
    class Warned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = conv(3, 8), conv(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            warnings.warn("old", DeprecationWarning, stacklevel=2)
            return self.b(self.a(x))

    assert [group.name for group in analyse(Warned(), X).groups] == ["a"]


def test_units_are_numbered_alike_in_all_that_owns_them() -> None:
    """Of any net, every member's positions name each place once, and places left over belong to no unit."""
    for build in (old_weight_norm, lambda: recurrent(nn.GRU)):
        net = build()
        x = X if build is old_weight_norm else torch.randn(1, 4, 5, generator=GENERATOR)
        for group in analyse(net, x).groups:
            for member in group.members:
                assert member.positions.shape[0] == group.width
                assert len(np.unique(member.positions)) == member.positions.numel()
                assert member.positions.max() < tensors(net)[member.tensor].shape[member.dim]


class Flagged(nn.Module):
    """Gives its features themselves when asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, features: bool = False) -> torch.Tensor:
        x = self.a(x).relu()
        return x if features else self.fc(x.mean((2, 3)))


def test_an_analysis_is_remembered_for_its_own_arguments_only() -> None:
    net, x = Flagged().eval(), torch.zeros(1, 3, 8, 8)
    assert [group.name for group in analyse(net, x).groups] == ["a"]
    assert not analyse(net, (x, True)).groups
    assert analyse(net, {"x": x, "features": False}) is not analyse(net, {"x": x, "features": True})
    assert analyse(net, x) is analyse(net, torch.ones(1, 3, 8, 8))


class Edges(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.Linear(6, 4)
        self.w, self.way = nn.Parameter(torch.randn(6, 4)), way

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        if self.way == "a mean of means":
            gate = torch.sigmoid(x.mean(1, keepdim=True).mean((2, 3)))
            return self.fc(self.b(x).mean((2, 3))) * gate
        if self.way == "a length of everything":
            return self.fc((x / (x.norm(dim=1, keepdim=True).mean() + 1e-6)).mean((2, 3)))
        if self.way == "einsum over positions":
            return torch.einsum("bchw,co->bo", x, self.w)
        if self.way == "einsum that sums apart":
            return torch.einsum("bc,od->bo", x.mean((2, 3)), self.w.T)
        places = x.argsort(2)
        return self.fc(torch.take_along_dim(self.b(x), places, dim=2).mean((2, 3)))


@pytest.mark.parametrize(
    "way",
    ["a mean of means", "a length of everything", "einsum over positions", "einsum that sums apart", "take_along_dim"],
)
def test_whatever_is_offered_can_be_cut_and_the_rest_is_frozen_with_a_reason(way: str) -> None:
    torch.manual_seed(0)
    net, x = Edges(way).eval(), torch.randn(2, 3, 4, 4)
    analysis = analyse(net, x)
    named = {group.name for group in analysis.groups}
    assert "a" in named or analysis.frozen["a"]
    for seed in range(3):
        kept = drawn(analysis, seed)
        with torch.no_grad():
            out = cut(net, analysis, kept)(x)
            torch.testing.assert_close(out, zero(net, analysis, kept)(x), rtol=1e-5, atol=1e-6)
