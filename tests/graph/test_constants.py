"""Values that a forward reads out of its own constants, models before their first run, and true reasons of refusals."""

import warnings

import pytest
import torch
from torch import nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph import analyse

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
V = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))


class Body(nn.Module):
    """Two linear layers for (N, 6), and a weight, a buffer and a plain tensor to be read."""

    def __init__(self, change):
        super().__init__()
        self.a, self.b, self.change = nn.Linear(6, 8), nn.Linear(8, 2), change
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("on", torch.tensor([1.0]))
        self.plain = torch.tensor([4.0, 8.0])

    def forward(self, x):
        return self.b(self.change(self, torch.relu(self.a(x))))


READ = {
    "bool of a buffer": lambda s, h: -h if s.on else h,
    "float of an attribute": lambda s, h: sum(h * float(v) for v in s.plain),
    "item of what is made": lambda s, h: h * torch.arange(3.0).sum().item(),
    "numpy of an attribute": lambda s, h: h * float(s.plain.numpy()[0]),
    "full of an attribute": lambda s, h: h * torch.full((1, 1), s.plain[0]),
    "comparison with the input's size": lambda s, h: h if torch.equal(torch.ones(h.shape[-1]), s.plain) else -h,
    "written over": lambda s, h: h if bool(torch.zeros(2).copy_(s.plain).any()) else -h,
}


@pytest.mark.parametrize("change", READ.values(), ids=list(READ))
def test_constants_are_not_taken_for_data(change):
    assert {g.name: g.width for g in analyse(Body(change), V).groups} == {"a": 8}


def _mark(zeros, h):
    zeros[0] = h.sum()
    return zeros


DATA = {
    "the input": lambda s, h: h if h.sum() > 0 else -h,
    "a parameter": lambda s, h: h if s.weight > 0 else -h,
    "a constant that was written to": lambda s, h: h if _mark(torch.zeros(2), h).any() else -h,
    "a view of it": lambda s, h: h if h[0].clone()[None].view(-1)[0] > 0 else -h,
    "a number that was read": lambda s, h: h if torch.full((2,), h.sum().item()).sum() > 0 else -h,
    "a constant after that": lambda s, h: -h if h.sum() > 0 and s.on else h,
}


@pytest.mark.parametrize("change", DATA.values(), ids=list(DATA))
def test_what_hangs_on_data_or_weights_is_refused_for_that(change):
    with pytest.raises(UnsupportedModelError, match=r"depends on values in a tensor"):
        analyse(Body(change), V)


class Causal(nn.Module):
    """As in torch's tutorials; the mask is made in the forward, a buffer, or an argument."""

    def __init__(self):
        super().__init__()
        self.i, self.o = nn.Linear(4, 8), nn.Linear(8, 2)
        self.e = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True), 1)
        self.register_buffer("mask", self.square(5))

    @staticmethod
    def square(size):
        return torch.triu(torch.full((size, size), float("-inf")), 1)

    def forward(self, x, mask="buffer"):
        mask = self.mask if mask == "buffer" else self.square(x.size(1)) if mask == "made" else mask
        return self.o(self.e(self.i(x), mask=mask))


@pytest.mark.parametrize("mask", ["made", "buffer", Causal.square(5)], ids=["made", "buffer", "argument"])
def test_encoders_with_a_mask_have_the_decisions_of_those_without(mask):
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    found = {g.name: g.width for g in analyse(Causal(), (x, mask)).groups}
    assert found == {"i": 8, "e.layers.0.self_attn": 2, "e.layers.0.linear1": 12}


class Anchors(nn.Module):
    """As YOLO's heads: strides and anchors of size 0 until the first run, which keeps them for this input size."""

    shape = None
    anchors = strides = torch.empty(0)

    def __init__(self):
        super().__init__()
        self.a, self.b, self.stride = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), torch.tensor([8.0])

    def forward(self, x):
        y = self.b(torch.relu(self.a(x)))
        if self.shape != y.shape:
            self.shape, (h, w) = y.shape, y.shape[2:]
            self.strides = torch.cat([torch.full((h * w, 1), stride) for stride in self.stride]).T
            self.anchors = torch.arange(h * w, dtype=x.dtype)[None] + 0.5
        return y.flatten(2) * self.strides + self.anchors


def test_a_model_is_the_same_before_and_after_its_first_run():
    fresh, ran = Anchors(), Anchors()
    ran(X)
    found = [analyse(net, X) for net in (fresh, ran)]
    assert [{g.name: g.width for g in one.groups} for one in found] == [{"a": 8}, {"a": 8}]
    assert fresh.shape is None
    assert not fresh.strides.numel()


class Seq2Seq(nn.Module):
    """``nn.Transformer`` between two linear layers, for (N, S, 4) and (N, T, 4)."""

    def __init__(self):
        super().__init__()
        self.i, self.o = nn.Linear(4, 8), nn.Linear(8, 2)
        self.t = nn.Transformer(8, 2, 1, 1, 12, 0.1, batch_first=True)

    def forward(self, source, target):
        return self.o(self.t(self.i(source), self.i(target)))


def test_the_width_and_all_heads_of_torchs_transformer_can_go():
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    found = {g.name: g.width for g in analyse(Seq2Seq(), (x[:, :5], x)).groups}
    heads = ("encoder.layers.0.self_attn", "decoder.layers.0.self_attn", "decoder.layers.0.multihead_attn")
    hidden = {"t.encoder.layers.0.linear1": 12, "t.decoder.layers.0.linear1": 12}
    assert found == {"i": 8, **hidden, **{f"t.{name}": 2 for name in heads}}


class Cross(nn.Module):
    """Keys and values are one tensor, given by position or by name."""

    def __init__(self, names):
        super().__init__()
        self.q, self.k, self.m, self.o = nn.Linear(5, 8), nn.Linear(5, 8), nn.MultiheadAttention(8, 2), nn.Linear(8, 2)
        self.names = names

    def forward(self, a, b):
        k = self.k(b)
        given = {"key": k, "value": k} if self.names else {}
        return self.o(self.m(self.q(a), *(() if given else (k, k)), **given)[0])


@pytest.mark.parametrize("names", [False, True])
def test_heads_of_cross_attention_can_go(names):
    a, b = V[None, :, :5], V[None].expand(3, 2, 6)[..., :5]
    assert {g.name: g.width for g in analyse(Cross(names), (a, b)).groups}["m"] == 2


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own: users still have such modules
        return torch.jit.script(nn.Linear(6, 8))


REFUSED = {
    "script": (scripted, V, r"the model is TorchScript \(Linear\).* nn.Module that it was made from"),
    "part": (lambda: nn.Sequential(scripted(), nn.Linear(8, 3)), V, r"layer '0' is TorchScript"),
    "image": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1)),
        X[0],
        r"\[3, 8, 8\] has no batch",
    ),
    "vector": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)), V[0], r"a batch, as \[1, 6\]"),
    "raises": (lambda: Body(lambda s, h: {}["no"]), V, r"forward fails on .* KeyError: 'no' at test_constants.py:"),
}


@pytest.mark.parametrize(("build", "example", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_the_reason_of_a_refusal_is_the_true_one(build, example, reason):
    with pytest.raises(UnsupportedModelError, match=reason):
        analyse(build(), example)


def test_modules_that_only_prepare_quantisation_are_not_taken_for_quantised_ones():
    class Prepared(Body):
        def __init__(self):
            super().__init__(lambda s, h: s.sum.add_relu(h, h))
            self.sum = torch.ao.nn.quantized.FloatFunctional()

    assert {g.name: g.width for g in analyse(Prepared(), V).groups} == {"a": 8}
    packed = nn.Module()
    packed._packed_params = None  # as torch's quantised layers keep theirs
    with pytest.raises(UnsupportedModelError, match="already quantised"):
        analyse(nn.Sequential(nn.Linear(6, 8), packed), V)


def test_an_example_of_fixed_batch_size_is_no_example_without_batch():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(torch.relu(self.a(x)) + torch.ones(3, 1))

    assert {g.name: g.width for g in analyse(Fixed(), V[:1].expand(3, 6)).groups} == {"a": 8}


class Projected(nn.Module):
    """An LSTM whose outputs are narrower than its state."""

    def __init__(self):
        super().__init__()
        self.r, self.o = nn.LSTM(3, 8, proj_size=5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.o(self.r(x)[0])


spectral = torch.nn.utils.parametrizations.spectral_norm
SILENT = {
    "spectral norm": (
        lambda: nn.Sequential(spectral(nn.Linear(6, 8)), nn.ReLU(), spectral(nn.Linear(8, 3))),
        V,
        ["0", "2"],
    ),
    "LSTM with projection": (Projected, V.view(2, 2, 3), ["o", "r"]),
}


@pytest.mark.parametrize(("build", "example", "frozen"), SILENT.values(), ids=list(SILENT))
def test_each_layer_that_stays_has_a_reason(build, example, frozen):
    analysis = analyse(build(), example)
    assert not analysis.groups
    assert sorted(analysis.frozen) == frozen
    assert all("aten." in reason or reason == "model output" for reason in analysis.frozen.values())
