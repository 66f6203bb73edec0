"""What must survive a cut, what must not change, and what is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from autoprune import graph, models
from autoprune.errors import InputError, PolicyMismatchError, UnsupportedModelError
from autoprune.graph import Extent, Selector, analyse, cut, fingerprint, first_difference, index_map, zero
from tests.support.nets.plain import Net, conv, pooled, projection

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def halved(analysis: graph.Analysis) -> dict[str, range]:
    return {group.name: range(0, group.width, 2) for group in analysis.groups}


def test_all_is_sorted_and_there() -> None:
    assert graph.__all__ == sorted(graph.__all__)
    assert all(hasattr(graph, name) for name in graph.__all__)


def test_model_and_random_state_are_untouched() -> None:
    net = projection().train()
    net.bn1.eval()
    net.fc.weight.requires_grad_(False)
    net(X).sum().backward()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()}
    modes = [module.training for module in net.modules()]
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    analysis = analyse(net, X)
    cut(net, analysis, halved(analysis)), zero(net, analysis, halved(analysis))
    Selector(net, analysis).select(halved(analysis))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert modes == [module.training for module in net.modules()]
    for name, p in net.named_parameters():
        assert (p.grad is None) == (grads[name] is None)
        assert p.grad is None or torch.equal(p.grad, grads[name])
    assert not net.fc.weight.requires_grad


@pytest.mark.parametrize("make", [cut, lambda n, a, k: Selector(n, a).select(k)], ids=["cut", "select"])
def test_cut_keeps_dtype_grad_flags_mode_and_format(make: Callable[..., nn.Module]) -> None:
    net = projection().bfloat16().to(memory_format=torch.channels_last)
    net.bn1.eval()
    net.conv2.weight.requires_grad_(False)
    net(X.bfloat16()).sum().backward()
    analysis = analyse(net, X.bfloat16())
    small = make(net, analysis, halved(analysis))
    assert [m.training for m in small.modules()] == [m.training for m in net.modules()]
    for (name, p), (other, q) in zip(net.named_parameters(), small.named_parameters(), strict=True):
        assert name == other
        assert (p.dtype, p.requires_grad, type(p)) == (q.dtype, q.requires_grad, type(q))
        assert q.grad is None
        assert q.is_leaf
    assert small.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert "Conv2d(3, 8" not in repr(small)
    assert "Conv2d(3, 4, kernel_size=(3, 3), stride=(2, 2)" in repr(small).replace("(conv1): ", "")


def test_kept_values_are_exact_and_any_order_will_do() -> None:
    net = projection()
    analysis = analyse(net, X)
    small = cut(net, analysis, {"conv1": [6, 0, 3]})
    assert torch.equal(small.conv1.weight, net.conv1.weight[[0, 3, 6]])
    assert torch.equal(small.bn1.running_var, net.bn1.running_var[[0, 3, 6]])
    assert torch.equal(small.conv2.weight, net.conv2.weight[:, [0, 3, 6]])
    assert torch.equal(small.fc.weight, net.fc.weight)


def test_zero_has_dense_shapes_and_only_zeroes() -> None:
    net = projection()
    analysis = analyse(net, X)
    silent = zero(net, analysis, {"conv1": [0, 3, 6]})
    for name, tensor in silent.state_dict().items():
        dense = net.state_dict()[name]
        assert tensor.shape == dense.shape
        changed = tensor != dense
        assert not tensor[changed].any()
        assert changed.any() == (name == "conv2.weight")
    assert (silent.conv2.weight.abs().sum((0, 2, 3)) == 0).sum() == 5


def test_selected_network_reaches_neither_the_dense_one_nor_the_next() -> None:
    net = projection().train()
    analysis = analyse(net, X)
    selector = Selector(net, analysis)
    reference = cut(net, analysis, halved(analysis)).state_dict()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    small = selector.select(halved(analysis))
    optimiser = torch.optim.SGD(small.parameters(), lr=0.1, momentum=0.9)
    small(torch.cat([X, 2 * X])).square().sum().backward()  # BatchNorm's statistics move too
    optimiser.step()
    assert not torch.equal(small.bn1.running_mean, reference["bn1.running_mean"])
    again = selector.select(halved(analysis)).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in reference.items())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    whole = selector.select({}).state_dict()
    assert all(torch.equal(whole[name], tensor) for name, tensor in before.items())


def test_tied_tensors_stay_tied() -> None:
    def body(n: Net, x: Tensor) -> Tensor:
        return pooled(n, n.e(torch.relu(n.c(torch.relu(n.b(n.a(x)))))))

    net = Net(body, a=conv(3, 8), b=conv(8, 8), c=conv(8, 8), e=conv(8, 6), fc=nn.Linear(6, 3))
    net.c.weight = net.b.weight
    analysis = analyse(net, X)
    kept = {"a": [1, 2, 5]}
    for small in (cut(net, analysis, kept), Selector(net, analysis).select(kept)):
        assert small.c.weight is small.b.weight
        assert small.b.weight.shape == (3, 3, 3, 3)
        assert analysis.param_total({"a": 3}) == sum(p.numel() for p in small.parameters())


def test_index_map_slices_momentum() -> None:
    net = projection()
    analysis = analyse(net, X)
    kept = halved(analysis)
    found = index_map(analysis, kept)
    small = cut(net, analysis, kept)
    for name, p in (*net.named_parameters(), *net.named_buffers()):
        sliced = p.detach()
        for dim, index in found.get(name, []):
            sliced = sliced.index_select(dim, index)
        assert torch.equal(sliced, small.state_dict()[name])


def test_cut_network_exports_again_and_finds_the_same_groups() -> None:
    net = projection()
    analysis = analyse(net, X)
    small = cut(net, analysis, halved(analysis))
    assert {g.name: g.width for g in analyse(small, X).groups} == {g.name: g.width // 2 for g in analysis.groups}


def test_analysis_pickles_without_the_model_and_is_cached() -> None:
    net = projection()
    analysis = analyse(net, X)
    assert analyse(net, torch.zeros(1, 3, 8, 8)) is analysis
    assert analyse(net, torch.zeros(1, 3, 16, 16)) is not analysis
    stored = pickle.dumps(analysis)
    assert b"Conv2d" in stored  # the fingerprint's type names, as text
    assert b"torch.nn" not in stored
    twin = pickle.loads(stored)
    small, other = cut(net, analysis, halved(analysis)), cut(net, twin, halved(analysis))
    assert all(torch.equal(p, q) for p, q in zip(small.parameters(), other.parameters(), strict=True))
    assert twin.macs({"conv1": 3}) == analysis.macs({"conv1": 3})


def test_groups_tell_producers_consumers_and_positions() -> None:
    group = analyse(projection(), X).group("conv2")
    assert group.producers == ("conv2", "down")
    assert group.consumers == ("fc",)
    assert {m.tensor for m in group.members if m.role == "carrier"} == {
        "bn2.weight", "bn2.bias", "bn2.running_mean", "bn2.running_var", "conv2.bias", "down.bias",
    }  # fmt: skip
    assert all(torch.equal(m.positions, torch.arange(12)[:, None]) for m in group.members)


def test_flatten_gives_each_unit_its_columns() -> None:
    net = nn.Sequential(conv(3, 4), nn.Flatten(), nn.Linear(4 * 64, 5))
    group = analyse(net, X).group("0")
    columns = next(m for m in group.members if m.role == "consumer")
    assert torch.equal(columns.positions, torch.arange(256).reshape(4, 64))


def test_extent_of_a_concat_is_a_sum() -> None:
    extent = Extent(2, (("a", 1), ("b", 4)), 2 + 3 + 20)
    assert extent({"a": 2, "b": 1}) == 8


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"conv1": []}, "at least 1 of its 8 units"),
        ({"conv1": [8]}, r"0\.\.7"),
        ({"conv1": [-1, 2]}, r"0\.\.7"),
        ({"conv1": [1, 1]}, "twice"),
        ({"fc": [0]}, "frozen: model output"),
        ({"nothing": [0]}, "no prunable group"),
    ],
)
def test_bad_policies_are_refused(kept: dict[str, list[int]], message: str) -> None:
    net = projection()
    analysis = analyse(net, X)
    selector = Selector(net, analysis)
    for use in (lambda: cut(net, analysis, kept), lambda: zero(net, analysis, kept), lambda: selector.select(kept)):
        with pytest.raises(InputError, match=message):
            use()


def test_another_model_is_refused_by_its_first_difference() -> None:
    analysis = analyse(projection(), X)
    other = projection()
    other.conv1 = conv(6, 9, stride=2)
    with pytest.raises(PolicyMismatchError, match=r"'conv1': weight is \[9, 6, 3, 3\], in the other \[8, 6, 3, 3\]"):
        cut(other, analysis, {})


def test_fingerprint_is_json_and_names_the_first_difference() -> None:
    one, other = fingerprint(projection()), fingerprint(projection())
    assert json.loads(json.dumps(one)) == one
    assert first_difference(one, other) is None
    net = projection()
    net.bn1 = nn.InstanceNorm2d(8)
    assert "'bn1' is a BatchNorm2d" in str(first_difference(one, fingerprint(net)))
    del net.fc
    net.bn1 = nn.BatchNorm2d(8)
    assert "'fc' is missing in the other" in str(first_difference(one, fingerprint(net)))
    assert first_difference(fingerprint(net), one) == "layer 'fc' is missing"


class Branching(nn.Module):
    """Control flow that depends on values: cannot be exported."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return x if x.sum() > 0 else -x


def test_what_cannot_be_exported_is_refused_in_two_lines() -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        analyse(Branching(), X)
    assert 1 <= len(str(caught.value).splitlines()) <= 2


def test_transformers_resnets_are_prunable_throughout() -> None:
    transformers = pytest.importorskip("transformers")
    for layer_type, groups in (("basic", 6), ("bottleneck", 9)):
        config = transformers.ResNetConfig(
            embedding_size=16, hidden_sizes=[16, 32, 64], depths=[1, 1, 1], layer_type=layer_type, num_labels=10
        )
        with torch.random.fork_rng():
            net = transformers.ResNetForImageClassification(config).eval()
        x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        analysis = analyse(net, x)
        assert len(analysis.groups) == groups
        assert analysis.frozen == {"classifier.1": "model output"}
        kept = halved(analysis)
        small = cut(net, analysis, kept)
        widths = {name: len(units) for name, units in kept.items()}
        with torch.no_grad():
            torch.testing.assert_close(small(x).logits, zero(net, analysis, kept)(x).logits, rtol=1e-4, atol=1e-5)
            assert torch.equal(Selector(net, analysis).select(kept)(x).logits, small(x).logits)
        assert analysis.param_total(widths) == sum(p.numel() for p in small.parameters())


def test_nothing_to_prune_is_no_error() -> None:
    for net in (nn.ReLU(), nn.Linear(8, 4), nn.Sequential(nn.Flatten(), nn.Softmax(1))):
        analysis = analyse(net, X)
        assert analysis.groups == ()
        assert analysis.param_total() == sum(p.numel() for p in net.parameters())
        assert torch.equal(cut(net, analysis, {})(X), Selector(net, analysis).select({})(X))


class Siamese(nn.Module):
    """Two inputs by keyword, several outputs in a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.side, self.head = conv(3, 8), conv(1, 8), conv(8, 4)

    def forward(self, image: Tensor, depth: Tensor) -> dict[str, Tensor | tuple[Tensor, ...]]:
        x = torch.relu(self.stem(image) + self.side(depth))
        return {"out": self.head(x), "more": (x.mean(1), self.head(-x))}


def test_inputs_by_keyword_and_outputs_in_a_mapping() -> None:
    net = Siamese()
    example = {"image": X, "depth": X[:, :1]}
    analysis = analyse(net, example)
    assert "summed over by aten.mean.dim" in analysis.frozen["stem"]
    assert analysis.groups == ()
    with pytest.raises(UnsupportedModelError, match="TypeError"):
        analyse(net, {"image": X})


def test_stack_of_outputs_is_frozen_but_inner_widths_are_not() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = conv(3, 6), conv(6, 5), conv(5, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
            y = self.b(torch.relu(self.a(x)))
            return self.c(y), [y]

    analysis = analyse(Two(), X)
    assert {g.name: g.width for g in analysis.groups} == {"a": 6}
    assert analysis.frozen == {"b": "model output", "c": "model output"}


def test_resnet20_has_a_decision_for_each_block_and_each_stage() -> None:
    net = models.resnet20(in_channels=1)
    analysis = analyse(net, torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(2)))
    assert [group.width for group in analysis.groups] == [16] * 4 + [32] * 4 + [64] * 4
    assert analysis.frozen == {"fc": "model output"}
    pixels, counted = 28 * 28, 0
    for width, size in ((16, pixels), (32, pixels // 4), (64, pixels // 16)):
        first = 1 * 16 if width == 16 else width // 2 * width  # stem, or the stage's first convolution
        counted += 9 * first * size + 9 * width * width * size * (6 if width == 16 else 5)
        counted += 0 if width == 16 else width // 2 * width * size  # projection
    assert analysis.macs() == counted + 64 * 10
