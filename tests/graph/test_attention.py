"""Attention: the decisions that a person finds in it; cut, select and the zeroed network agree; attributes follow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoprune.graph import Analysis, Selector, analyse, cut, zero
from autoprune.graph.surgery.multihead import PrunedAttention
from tests.support.cut_checks import assert_only_silenced, drawn
from tests.support.nets.attention import ATTENTION_CASES, HEADS, LENGTH, WIDTH, Around, Torch

_built: dict[str, tuple[nn.Module, Tensor, Analysis]] = {}


def built(name: str) -> tuple[nn.Module, Tensor, Analysis]:
    if name not in _built:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            net, x = ATTENTION_CASES[name].build().eval().double(), torch.randn(2, LENGTH, 5).double()
        _built[name] = net, x, analyse(net, x)
    return _built[name]


@pytest.mark.parametrize("name", ATTENTION_CASES)
def test_decisions_are_those_a_person_finds(name: str) -> None:
    case, (_, _, analysis) = ATTENTION_CASES[name], built(name)
    assert {group.name: (group.kind, group.width) for group in analysis.groups} == dict(case.groups)
    for layer, reason in case.frozen.items():
        assert reason in analysis.frozen[layer]
    followed = {name: size.terms[0][0] for _, name, size in analysis.attributes if size.terms}
    assert case.follows.items() <= followed.items()


@pytest.mark.parametrize("granularity", [1, 8])
@pytest.mark.parametrize("name", ATTENTION_CASES)
def test_cut_is_zeroed_and_selected(name: str, granularity: int) -> None:
    net, x, analysis = built(name)
    selector = Selector(net, analysis)
    for seed in range(3):
        kept = drawn(analysis, seed, granularity)
        silent = zero(net, analysis, kept)
        assert_only_silenced(net, silent, analysis, kept)
        with torch.no_grad():
            out = cut(net, analysis, kept)(x)
            torch.testing.assert_close(out, silent(x), rtol=1e-9, atol=1e-9)
            assert torch.equal(selector.select(kept)(x), out)


def test_one_attention_module_changes_its_class_only_where_torchs_cannot_run_it() -> None:
    net, x, analysis = built("torch")
    assert type(cut(net, analysis, {"layer.mha": [0, 3]}).layer.mha) is PrunedAttention
    selector = Selector(net, analysis)
    assert type(selector.select({"layer.mha": [1]}).layer.mha) is PrunedAttention
    assert type(selector.select({}).layer.mha) is nn.MultiheadAttention
    # heads and embedding shrunk alike: torch's own can
    kept = {"layer.mha": [0, 1, 2], "a": list(range(HEADS * (WIDTH // HEADS) * 3 // 4))}
    both = cut(net, analysis, kept)
    assert type(both.layer.mha) is nn.MultiheadAttention
    assert both.layer.mha.embed_dim == 18
    torch.testing.assert_close(both(x), zero(net, analysis, kept)(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masked", ["bool", "float", "per_head", "padding", "none"])
def test_pruned_attention_computes_what_torchs_does(batched: bool, batch_first: bool, masked: str) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        stock = nn.MultiheadAttention(12, 3, batch_first=batch_first)
    twin = nn.MultiheadAttention(12, 3, batch_first=batch_first)
    twin.load_state_dict(stock.state_dict())
    twin.__class__ = PrunedAttention
    x = torch.randn((2, 4, 12) if batched else (4, 12), generator=generator)
    x = x.transpose(0, 1) if batched and not batch_first else x
    options: dict[str, Tensor] = {}
    if masked == "bool":
        options["attn_mask"] = torch.ones(4, 4, dtype=torch.bool).triu(1)
    elif masked == "float":
        options["attn_mask"] = torch.randn(4, 4, generator=generator)
    elif masked == "per_head":
        options["attn_mask"] = torch.randn(6 if batched else 3, 4, 4, generator=generator)
    elif masked == "padding":
        padding = torch.tensor([[False, False, False, True], [False, False, True, True]])
        options["key_padding_mask"] = padding if batched else padding[0]
    for average in (True, False):
        wanted, weights = stock(x, x, x, average_attn_weights=average, **options)
        got, shown = twin(x, x, x, average_attn_weights=average, **options)
        torch.testing.assert_close(got, wanted)
        torch.testing.assert_close(shown, weights)


def test_a_cut_attention_can_be_analysed_and_cut_again() -> None:
    net = Around(Torch(batch_first=True)).eval().double()
    x = torch.randn(1, LENGTH, 5, generator=torch.Generator().manual_seed(2)).double()
    small = cut(net, analyse(net, x), {"layer.mha": [0, 2, 3], "a": list(range(20))})
    again = analyse(small, x)
    assert {group.name: group.width for group in again.groups} == {"a": 20, "layer.mha": 3}
    kept = {"layer.mha": [2], "a": list(np.arange(5))}
    torch.testing.assert_close(cut(small, again, kept)(x), zero(small, again, kept)(x), rtol=1e-9, atol=1e-9)
