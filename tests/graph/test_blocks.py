"""Dropped blocks: select, cut, the silenced network and the traced graph with the branch at zero give one output."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.fx import Interpreter, Node

from autoprune import models, search_space
from autoprune.errors import InputError
from autoprune.graph import Analysis, Block, Selector, analyse, cut, fingerprint, index_map, zero
from autoprune.graph.block import is_active
from autoprune.space import checked_kinds
from tests.support.nets.blocks import DROPPABLE, SOLID, Scaled, sequence

X = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Kept = Mapping[str, Sequence[int]]


@functools.cache
def analysed(name: str) -> tuple[nn.Module, Analysis]:
    """A net with random weights and statistics, and its analysis."""
    generator = torch.Generator().manual_seed(1)
    net = DROPPABLE[name][0]().eval()
    with torch.no_grad():
        for key, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(noise + 0.5 if "var" in key else (noise - 0.5) * (2 if tensor.dim() < 2 else 1))
    return net, analyse(net, X)


class _WithZeros(Interpreter):
    """The traced graph with 0 on the branch's side of the sum that ends it: no module is touched."""

    def __init__(self, program: torch.export.ExportedProgram, block: Block) -> None:
        super().__init__(program.module(check_guards=False))
        self.ended = False
        # the graph of `module()` has the same operators in the same order
        calls = [node for node in program.graph.nodes if node.op == "call_function"]
        nodes = (node for node in self.module.graph.nodes if "assert" not in str(node.target))
        here = [node for node in nodes if node.op == "call_function"]
        self.inside = {one for one, other in zip(here, calls, strict=True) if other.name in block.nodes}

    def run_node(self, n: Node) -> Any:
        if "aten.add" in str(n.target) and not self.ended:
            sides = [side in self.inside for side in n.args[:2]]
            if sum(sides) == 1 and all(isinstance(side, Node) for side in n.args[:2]):
                self.ended = True  # what the block hands on may be a side of the next sum
                values = [self.env[side] for side in n.args[:2]]
                return values[sides.index(False)] + 0 * values[sides.index(True)]
        return super().run_node(n)


@pytest.mark.parametrize("name", DROPPABLE)
def test_a_person_finds_the_same_blocks(name: str) -> None:
    _, analysis = analysed(name)
    found = {block.name: " ".join(swap.does for swap in block.swaps) for block in analysis.blocks}
    assert found == DROPPABLE[name][1]
    assert not analysis.undroppable


@pytest.mark.parametrize("name", SOLID)
def test_what_cannot_be_dropped_is_refused_with_a_reason(name: str) -> None:
    build, reason = SOLID[name]
    net = build().eval()
    analysis = analyse(net, X)
    assert analysis.blocks == ()
    assert bool(analysis.undroppable) == (reason is not None)
    assert all(str(reason) in why for why in analysis.undroppable.values())


@pytest.mark.parametrize("name", [name for name in DROPPABLE if name != "torch's layer"])
def test_dropping_is_the_graph_with_the_branch_at_zero(name: str) -> None:
    net, analysis = analysed(name)
    program = torch.export.export(net, (X,))
    with torch.no_grad():
        for block in analysis.blocks:
            wanted = _WithZeros(program, block).run(X)
            small = cut(net, analysis, {block.name: []})
            torch.testing.assert_close(small(X), wanted, rtol=1e-5, atol=1e-6)
            assert not torch.allclose(small(X), net(X), atol=1e-3)  # the branch did something


@pytest.mark.parametrize("name", DROPPABLE)
@given(data=st.data())
@settings(max_examples=6, deadline=None, derandomize=True)
def test_random_policies_agree_and_are_counted(name: str, data: st.DataObject) -> None:
    net, analysis = analysed(name)
    draw = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    kept: dict[str, list[int]] = {b.name: [0] * int(draw.integers(2)) for b in analysis.blocks}
    norms = {g.name for g in analysis.groups if g.oracle != "zero"}  # silenced and cut differ there by design
    for group in analysis.groups:
        if group.name not in norms:
            size = int(draw.integers(1, group.width + 1))
            kept[group.name] = draw.permutation(group.width)[:size].tolist()
    with torch.no_grad():
        small = cut(net, analysis, kept)
        torch.testing.assert_close(small(X), zero(net, analysis, kept)(X), rtol=1e-4, atol=1e-5)
        assert torch.equal(Selector(net, analysis).select(kept)(X), small(X))
    units = {name: len(index) for name, index in kept.items()}
    assert analysis.param_total(units) == sum(p.numel() for p in small.parameters())
    assert analysis.macs(units) == analyse(small, X, validate=False).macs()
    gone = {t for b in analysis.blocks if not kept[b.name] for t in b.tensors}
    assert gone.isdisjoint(small.state_dict())
    whole = {g.name: [*range(g.width)] for g in analysis.groups}
    dead = {g.name for g in analysis.groups if not is_active(analysis.within(g.name), units)}
    canonical = {name: whole[name] if name in dead else index for name, index in kept.items()}
    assert fingerprint(cut(net, analysis, canonical)) == fingerprint(small)


def test_select_puts_everything_back() -> None:
    net, analysis = analysed("pre-norm")
    selector = Selector(net, analysis)
    everything = {block.name: [] for block in analysis.blocks}
    dropped = selector.select(everything)
    assert not any("gamma" in key or "attn" in key for key in dropped.state_dict())
    whole = selector.select({})
    assert list(whole.state_dict()) == list(net.state_dict())
    assert [name for name, _ in whole.named_parameters()] == [name for name, _ in net.named_parameters()]
    with torch.no_grad():
        assert torch.equal(whole(X), net(X))
        once, again = selector.select(everything)(X), selector.select(everything)(X)
    assert torch.equal(once, again)


def test_modes_and_the_original_survive() -> None:
    net = sequence(Scaled(8, 2, 12)).train()
    net.blocks[0].attn.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    analysis = analyse(net, X)
    for make in (cut, lambda n, a, k: Selector(n, a).select(k)):
        small = make(net, analysis, {"blocks.0.attn": []})
        assert not small.blocks[0].attn.training
        assert small.blocks[0].norm1.training
        assert small.blocks[0].attn.heads == 2  # a forward may look
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_cut_networks_export_train_and_move() -> None:
    for name in ("bottleneck", "pre-norm", "torch's layer"):
        net, analysis = analysed(name)
        small = cut(net, analysis, {block.name: [] for block in analysis.blocks[:1]})
        program = torch.export.export(small, (X,))
        with torch.no_grad():
            torch.testing.assert_close(program.module()(X), small(X))
        small.train()
        small(X).square().sum().backward()
        assert all(p.grad is not None for p in small.parameters())
        assert small.double()(X.double()).dtype is torch.float64


def test_a_cut_network_is_onnx(tmp_path: Any) -> None:
    pytest.importorskip("onnxruntime")
    from autoprune.export.formats import export_onnx

    net, analysis = analysed("loose")
    small = cut(net, analysis, {"conv2:block": []}).eval()
    export_onnx(small, X[:1], tmp_path / "small.onnx")  # compares outputs before it writes


def test_zeros_of_a_width_of_their_own_follow_the_input() -> None:
    """What replaces the modules of a branch that changes the width is as high and wide as what is fed in later."""
    net, analysis = analysed("shared gate")
    kept = {"blocks.0.a:block": [], "stem": [0, 2, 3], "blocks.0.c": [1, 5]}
    larger = torch.randn(2, 3, 11, 14)
    with torch.no_grad():
        torch.testing.assert_close(cut(net, analysis, kept)(larger), zero(net, analysis, kept)(larger))


def test_groups_within_blocks() -> None:
    _, analysis = analysed("nested")
    places = {group.name: analysis.within(group.name) for group in analysis.groups}
    assert places == {"stem": (), "inner.0": (("inner",),), "inner.1.conv1": (("inner", "inner.1"),)}
    assert [block.outer for block in analysis.blocks] == [(), ("inner",)]
    assert not is_active((("inner", "inner.1"),), {"inner": 1, "inner.1": 0})
    assert is_active((("a",), ("b",)), {"a": 0})


def test_indices_of_blocks_are_checked_and_momentum_is_left_out() -> None:
    net, analysis = analysed("basic")
    with pytest.raises(InputError, match=r"0\.\.0"):
        cut(net, analysis, {"blocks.0": [1]})
    with pytest.raises(InputError, match="cannot keep 2 of 1"):
        analysis.macs({"blocks.0": 2})
    found = index_map(analysis, {"blocks.0": [], "blocks.0.conv1": [0], "blocks.1.conv1": [1]})
    assert any(name.startswith("blocks.1") for name in found)
    assert not any(name.startswith("blocks.0") for name in found)


def test_an_analysis_with_blocks_pickles() -> None:
    net, analysis = analysed("post-norm")
    twin = pickle.loads(pickle.dumps(analysis))
    kept = {block.name: [] for block in analysis.blocks}
    with torch.no_grad():
        assert torch.equal(cut(net, twin, kept)(X), cut(net, analysis, kept)(X))


def test_zoo() -> None:
    x = torch.zeros(1, 1, 28, 28)
    names = {
        "resnet20": ["layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2"],
        "mobilenet_v2": [f"blocks.{n}" for n in (0, 2, 4, 5, 7, 8, 9, 11, 12, 14, 15)],
        "plain20": [],
    }
    for name, blocks in names.items():
        analysis = analyse(models.ZOO[name](in_channels=1, width=0.25), x, validate=name != "mobilenet_v2")
        assert [block.name for block in analysis.blocks] == blocks
        assert all(swap.does == "pass" for block in analysis.blocks for swap in block.swaps)


def test_whole_models() -> None:
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    ids = {"input_ids": torch.arange(6)[None]}
    images = {"pixel_values": torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))}
    cases = [
        (transformers.BertModel, transformers.BertConfig(**size, vocab_size=20), ids, 4),
        (transformers.ViTModel, transformers.ViTConfig(**size, image_size=32, patch_size=8), images, 4),
        (transformers.GPT2Model, transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=20), ids, 4),
        (transformers.LlamaModel, transformers.LlamaConfig(**size, vocab_size=20), ids, 4),
    ]
    for kind, config, example, count in cases:
        with torch.random.fork_rng():
            net = kind(config).eval()
        analysis = analyse(net, example)
        assert len(analysis.blocks) == count, (kind.__name__, analysis.undroppable)
        kept = {block.name: [] for block in analysis.blocks[::3]}
        with torch.no_grad():
            small, silent = cut(net, analysis, kept), zero(net, analysis, kept)
            one, other = small(**example).last_hidden_state, silent(**example).last_hidden_state
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert analysis.param_total(dict.fromkeys(kept, 0)) == sum(p.numel() for p in small.parameters())


def test_many_in_a_row_stay_right() -> None:
    net, analysis = analysed("bottleneck")
    selector, draw = Selector(net, analysis), np.random.default_rng(3)
    with torch.no_grad():
        first = {}
        for _ in range(200):
            kept = {b.name: [0] * int(draw.integers(2)) for b in analysis.blocks}
            got = selector.select(kept)(X)
            key = tuple(map(len, kept.values()))
            assert torch.equal(first.setdefault(key, got), got)
    assert len(first) == 4


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_blocks_cost_nothing_where_they_are_not_wanted(order: tuple[bool, bool]) -> None:
    runs = 0

    class Counted(Scaled):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal runs
            runs += 1
            return super().forward(x)

    net = sequence(Counted(8, 2, 16), Scaled(8, 2, 16)).eval()
    spent, names = {}, []
    for wanted in order:
        before = runs
        found = analyse(net, X, blocks=wanted)
        spent[wanted] = runs - before
        assert len(found.blocks) == 4 * wanted
        names.append([group.name for group in found.groups])
    assert spent[False] < spent[True] / 2
    assert names[0] == names[1]


def test_a_space_of_widths_is_the_same_whether_blocks_are_known_or_not() -> None:
    net = sequence(Scaled(8, 2, 16)).eval()
    before = search_space(net, X)
    with_blocks = search_space(net, X, kinds=[*checked_kinds(None), "block"])
    assert before == search_space(net, X)
    assert {d.name for d in before.decisions} < {d.name for d in with_blocks.decisions}
