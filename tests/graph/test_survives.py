"""What a cut network keeps beside its weights: hooks, buffers of every sort, subclasses, what users hung on it."""

import itertools

import pytest
import torch
from torch import nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph import analyse, cut, zero
from autoprune.models import with_tensor_output
from tests.support.nets.hooked import KEPT, Keeping, Recorder, hooked_globally, hooked_on_itself

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Scaled(nn.Module):
    """A buffer as wide as a channel, one that is not saved, one that is no channel's, and a remark."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.register_buffer("scale", torch.linspace(1, 2, 8).view(1, 8, 1, 1))
        self.register_buffer("shift", torch.linspace(0, 1, 8).view(8, 1, 1), persistent=False)
        self.register_buffer("count", torch.tensor(7))
        self.remark = {"made": "by hand"}

    def forward(self, x):
        return self.b(torch.relu(self.a(x)) * self.scale + self.shift)


def test_buffers_follow_their_units_and_stay_what_they_are():
    net = Scaled()
    analysis = analyse(net, X)
    assert [g.name for g in analysis.groups] == ["a"]
    small = cut(net, analysis, {"a": [1, 2, 6]})
    assert torch.equal(small.scale, net.scale[:, [1, 2, 6]])
    assert torch.equal(small.shift, net.shift[[1, 2, 6]])
    assert int(small.count) == 7
    assert "shift" not in small.state_dict()
    assert small.scale.data_ptr() != net.scale.data_ptr()
    assert small.remark == net.remark
    assert small.remark is not net.remark


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_survive_and_see_the_small_network(register):
    net, seen = Scaled(), []
    analysis = analyse(net, X)
    getattr(net.b, register)(lambda module, inputs, *_: seen.append((module, inputs[0].shape[1])))
    small = cut(net, analysis, {"a": [0, 5]})
    small(X)
    assert [(module is small.b, width) for module, width in seen] == [(True, 2)]
    net(X)
    assert seen[-1] == (net.b, 8)


def test_hooks_that_close_over_the_model_write_to_no_copy_but_their_own():
    net = hooked_on_itself()
    analysis = analyse(net, X)
    assert {g.name: g.width for g in analysis.groups} == {"a": 8}
    with_tensor_output(net)(X)
    small, silent = cut(net, analysis, {"a": [0, 5]}), zero(net, analysis, {"a": [0, 5]})
    small(X), silent(X)
    assert net.seen == {}
    assert [small.seen["a"].shape[1], silent.seen["a"].shape[1]] == [2, 8]
    net(X)
    assert net.seen["a"].shape[1] == 8
    assert small.seen["a"].shape[1] == 2


def test_hooks_that_write_to_a_global_dict_are_not_heard_during_analysis():
    net = hooked_globally()
    net(X)
    was = KEPT["a"]
    analysis = analyse(net, X)
    assert {g.name: g.width for g in analysis.groups} == {"a": 8}
    with_tensor_output(net)(X)
    assert KEPT["a"] is was
    cut(net, analysis, {"a": [0, 5]})(X)  # what is delivered is the caller's to run
    assert KEPT["a"].shape[1] == 2


@pytest.mark.parametrize("way", ["closure", "method", "default", "partial"])
def test_hooks_of_an_object_outside_are_not_heard_during_analysis(way):
    net = Keeping()
    recorder = Recorder(net, way)
    net(X)
    was = recorder.kept["a"]
    assert {g.name: g.width for g in analyse(net, X).groups} == {"a": 8}
    with_tensor_output(net)(X)
    assert recorder.kept["a"] is was
    assert was.grad_fn is not None


def test_activations_with_a_history_are_copied_without_it():
    net = Keeping()
    net(X)
    analysis = analyse(net, X)
    small = cut(net, analysis, {"a": [0, 5]})
    assert net.feature[0].grad_fn is not None
    assert small.feature[0].grad_fn is None
    assert with_tensor_output(net)(X).shape == (2, 4, 6, 6)


def test_a_compiled_model_is_analysed_without_compiling_it():
    runs = itertools.count()  # a list would be the copy's own

    def backend(graph, example):
        next(runs)
        return graph.forward

    analysis = analyse(torch.compile(Scaled(), backend=backend), X)
    assert {g.name: g.width for g in analysis.groups} == {"_orig_mod.a": 8}
    assert next(runs) == 0


def test_lazy_layers_that_have_not_run_are_refused_with_the_remedy():
    net = nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.LazyConv2d(4, 1))
    with pytest.raises(UnsupportedModelError, match=r"'0' is a LazyConv2d .* run the model once"):
        analyse(net, X)
    with pytest.raises(UnsupportedModelError, match="run the model once"):
        with_tensor_output(net)
    net(X)
    assert {g.name: g.width for g in analyse(net, X).groups} == {"0": 8}


def test_backward_hooks_survive_and_gradients_do_not_reach_the_dense_ones():
    net, seen = Scaled(), []
    analysis = analyse(net, X)
    net.b.register_full_backward_hook(lambda module, *_: seen.append(module))
    small = cut(net, analysis, {"a": [0, 5]})
    small(X).sum().backward()
    assert seen == [small.b]
    assert net.b.weight.grad is None


def test_a_subclass_with_a_state_of_its_own_is_copied_as_it_is():
    class Counting(nn.Conv2d):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    net = nn.Sequential(Counting(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1)).half().float()
    analysis = analyse(net, X)
    net[0].calls = 5
    small = cut(net, analysis, {"0": [3]})
    assert type(small[0]) is Counting
    assert small[0].calls == 5
    assert small[0].out_channels == 1


class Fused(nn.Module):
    """As RepVGG: how many channels it has is read when its branches are fused, not in its forward."""

    def __init__(self, width, other):
        super().__init__()
        self.in_channels, self.out_channels, self.classes = width, width, width
        self.c, self.n, self.d = (
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, other, 1),
        )

    def forward(self, x):
        return self.d(torch.relu(self.c(x) + self.n(x)))

    def kernel(self):
        identity = torch.zeros(self.in_channels, self.in_channels, 3, 3)
        identity[range(self.in_channels), range(self.in_channels), 1, 1] = 1
        return self.c.weight + identity


def test_an_attribute_that_only_another_method_reads_follows_where_its_name_says_what_it_counts():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), Fused(8, 5), nn.Conv2d(5, 3, 1))
    small = cut(net, analyse(net, X), {"0": [0, 2, 5], "1.d": [1]})
    assert small[1].kernel().shape == (3, 3, 3, 3)
    assert (small[1].in_channels, small[1].out_channels, small[1].classes) == (3, 3, 8)


def test_an_attribute_that_may_count_two_widths_is_left():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), Fused(8, 8), nn.Conv2d(8, 3, 1))
    small = cut(net, analyse(net, X), {"0": [0, 2, 5], "1.d": [1]})
    assert (small[1].in_channels, small[1].out_channels) == (3, 8)  # two convolutions have 8 outputs, of two widths
