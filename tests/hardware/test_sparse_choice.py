"""Dense or sparse, layer by layer: what was measured decides, and everything else is dense with a reason."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

from autoprune.errors import TargetError
from autoprune.hardware import Layer, Measurement, Protocol, Target
from autoprune.hardware.sparse_kernels.choice import Pair, chosen_layers, measured_pairs
from autoprune.hardware.sparse_kernels.rules import Gpu
from autoprune.hardware.sparse_kernels.shapes import called_layers, sparse_layers
from autoprune.masks.assigned import Assigned
from autoprune.masks.compressed import TWO_OF_FOUR
from autoprune.masks.planes import PLAIN

PROTOCOL = Protocol.entries()
HOPPER = Gpu((9, 0), cusparselt=True)


class PretendGpu(Target):
    """Sparse kernels take a constant more and half of the time: they pay from some size on."""

    name = "pretend-gpu"
    variants = frozenset({"2:4"})
    precisions = ("f16",)
    slowing = 1.0  # from one timing to the next

    def __init__(self, **options):
        super().__init__(**options)
        self.calls, self.sessions, self.fails_at, self.drift = [], 0, None, 1.0

    def available(self):
        return None

    def versions(self):
        return {"runtime": "formula"}

    def pack(self, model, example):
        return b""

    def pack_layer(self, layer, copies):
        return None if layer.outputs == 48 else f"{layer.variant or 'dense'} {layer.macs}".encode()

    @contextmanager
    def session(self):
        self.sessions += 1
        yield self

    def time(self, payloads, protocol, progress=None):
        self.calls.append(payloads)
        return [self._timed(*payload.decode().split()) for payload in payloads]

    def _timed(self, variant, macs):
        if int(macs) == self.fails_at:
            raise TargetError("the worker died: out of memory\nmore")
        self.drift *= self.slowing
        return Measurement(self.drift * expected(int(macs), variant), 0.0, 1, "formula", True)


def expected(macs, variant):
    return 2.5 + 0.5e-6 * macs if variant == "2:4" else 1 + 1e-6 * macs


LARGE, SMALL = Layer("linear", 1024, 4096, batch=4), Layer("linear", 64, 64, batch=4)


def test_sparse_kernels_are_chosen_where_they_were_faster_and_nowhere_else():
    layers = {"mlp": LARGE, "head": SMALL, "odd": Layer("linear", 70, 64), "norm": "its weight is not 2:4: no zeros"}
    found = {each.name: each for each in chosen_layers(layers, PretendGpu(), lambda: HOPPER, PROTOCOL)}
    assert {name: each.chosen for name, each in found.items()} == {
        "mlp": "sparse", "head": "dense", "odd": "dense", "norm": "dense",
    }  # fmt: skip
    assert found["mlp"].reason is None
    assert "not faster" in found["head"].reason
    assert "multiples of 16" in found["odd"].reason
    assert found["norm"].reason == layers["norm"]


def test_rows_of_reports_hold_what_was_measured():
    row = chosen_layers({"mlp": LARGE}, PretendGpu(), lambda: HOPPER, PROTOCOL)[0].to_json()
    dense, sparse = expected(LARGE.macs, "dense"), expected(LARGE.macs, "2:4")
    assert row["latency_dense_ms"] == pytest.approx(dense)
    assert row["latency_sparse_ms"] == pytest.approx(sparse)
    assert row["ratio"]["median"] == pytest.approx(sparse / dense)
    assert row["chosen"] == "sparse"


def test_one_slower_repetition_of_several_is_enough_to_stay_dense():
    assert Pair((1.0, 1.0), (0.9, 0.99)).pays
    assert not Pair((1.0, 1.0, 1.0), (0.5, 0.5, 1.0)).pays


def test_ratios_are_within_repetitions_in_both_orders_so_that_drift_shows():
    target = PretendGpu()
    target.slowing = 1.3
    pair = measured_pairs(target, [LARGE], PROTOCOL, 2)[LARGE.key]
    assert [payloads[0].split()[0] for payloads in target.calls] == [b"dense", b"2:4"]
    true = expected(LARGE.macs, "2:4") / expected(LARGE.macs, "dense")
    assert pair.ratios == pytest.approx([true * 1.3, true / 1.3])


def test_equal_layers_are_timed_once_in_one_session():
    target = PretendGpu()
    chosen_layers({"a": LARGE, "b": LARGE, "c": SMALL}, target, lambda: HOPPER, PROTOCOL, 3)
    assert len(target.calls) == 2 * 3
    assert target.sessions == 1


def test_a_layer_that_breaks_the_session_is_dense_and_the_others_go_on():
    target = PretendGpu()
    target.fails_at = LARGE.macs
    alone = replace(SMALL, outputs=48)
    layers = {"a": LARGE, "b": SMALL, "c": alone}
    found = {each.name: each for each in chosen_layers(layers, target, lambda: HOPPER, PROTOCOL)}
    assert found["a"].reason.endswith("the worker died: out of memory")  # before it, whose target
    assert found["b"].pair is not None
    assert "cannot run this layer alone" in found["c"].reason
    assert target.sessions == 2


def test_a_target_without_sparse_kernels_measures_nothing_and_asks_for_no_gpu():
    class Plain(PretendGpu):
        variants = frozenset()

    def no_gpu():
        raise AssertionError

    target = Plain()
    found = chosen_layers({"a": LARGE, "b": "it has no zeros"}, target, no_gpu, PROTOCOL)
    assert [each.chosen for each in found] == ["dense", "dense"]
    assert "multiplies with zeros as with any other number" in found[0].reason
    assert found[1].reason == "it has no zeros"
    assert target.calls == []


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.mlp = nn.Linear(16, 32, bias=False)
        self.up = nn.ConvTranspose1d(32, 4, 1)

    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        tokens, _ = self.attention(tokens, tokens, tokens)
        return self.up(self.mlp(tokens).transpose(1, 2))


def test_layers_have_the_sizes_with_which_the_network_calls_them():
    network = Network().train()
    found = called_layers(network, torch.zeros(3, 8, 6, 6))
    assert found["conv"] == Layer("conv", 8, 16, 3, (6, 6), (3, 3), (3, 3), (2, 2), (1, 1), (1, 1))
    assert found["mlp"] == Layer("linear", 16, 32, batch=3 * 9, bias=False)
    assert "another module reads its weight" in found["attention.out_proj"]
    assert "transposed" in found["up"]
    assert network.training


def test_only_weights_with_the_pattern_are_candidates():
    network = Network()
    network.mlp.weight.data *= Assigned(PLAIN, TWO_OF_FOUR).mask(network.mlp.weight.detach().abs())
    network.conv.weight.data[0] = 0
    found = sparse_layers(network, torch.zeros(1, 8, 6, 6))
    assert isinstance(found["mlp"], Layer)
    assert "not 2:4" in found["conv"]


def test_a_network_without_the_pattern_is_not_called():
    def refuse(*given):
        raise AssertionError

    network = Network()
    network.register_forward_pre_hook(refuse)
    assert sparse_layers(network, torch.zeros(1, 8, 6, 6)) == {}
