"""Many groups proven in one run: the same verdicts as a few at a time, and none hides what is wrong with another."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from autoprune.graph import Analysis, Selector, analyse, cut
from autoprune.graph.proof.groups import Proof
from autoprune.graph.proof.network_copy import Shadows
from autoprune.graph.proof.visibility import Sight
from autoprune.graph.surgery.slicer import Slicer
from autoprune.graph.trace.export import trace
from autoprune.models.inputs.example import Example
from tests.support.nets.whole_models import MODELS

DEPTH = 10


class Chain(nn.Module):
    """Layers one behind the other, each with an activation; some scale what they make by the number of their units."""

    def __init__(self, activation: Callable[[Tensor], Tensor], guilty: set[int], width: int = 12) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(DEPTH))
        self.head = nn.Linear(width, 3)
        self.activation, self.guilty, self.width = activation, guilty, width

    def forward(self, x: Tensor) -> Tensor:
        for place, layer in enumerate(self.layers):
            x = self.activation(layer(x))
            if place in self.guilty:
                x = x * float(x.shape[-1])
        return self.head(x)


def described(analysis: Analysis) -> object:
    groups = [(g.name, g.width, g.kind, g.oracle, g.least, g.producers, g.consumers) for g in analysis.groups]
    return groups, dict(analysis.frozen), [b.name for b in analysis.blocks], dict(analysis.undroppable)


def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """No group is taken to show."""
    monkeypatch.setattr(Proof, "_prove_together", lambda self, names, policy: (names, False))


@pytest.mark.parametrize("activation", [torch.tanh, torch.relu], ids=["tanh", "relu"])
@pytest.mark.parametrize("guilty", [set(), {0}, {4}, {9}, {1, 2, 7}, set(range(DEPTH))], ids=str)
def test_every_guilty_group_of_many_is_found(guilty: set[int], activation: Callable[[Tensor], Tensor]) -> None:
    analysis = analyse(Chain(activation, guilty), torch.randn(1, 12))
    assert {g.name for g in analysis.groups} == {f"layers.{n}" for n in range(DEPTH) if n not in guilty}
    assert all("differs" in analysis.frozen[f"layers.{n}"] for n in guilty)


@pytest.mark.parametrize("name", ["ResNet", "EfficientNet", "ViT", "Mistral"])
def test_verdicts_do_not_depend_on_how_many_are_tried_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = MODELS[name]
    together = described(analyse(entry.build(), entry.example()))
    one_by_one(monkeypatch)
    assert described(analyse(entry.build(), entry.example())) == together


def test_many_groups_take_few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def runs() -> int:
        count = []

        class Counted(Chain):
            def forward(self, x: Tensor) -> Tensor:
                count.append(1)
                return super().forward(x)

        analyse(Counted(torch.tanh, set()), torch.randn(1, 12))
        return len(count)

    together = runs()
    one_by_one(monkeypatch)
    assert together < 0.75 * runs()


class Silent(Chain):
    """What the first half of the layers makes is added up behind a factor."""

    factor = 0.0

    def forward(self, x: Tensor) -> Tensor:
        first, second = x, x
        for place, layer in enumerate(self.layers):
            if place < DEPTH // 2:
                first = layer(first).tanh()
            else:
                second = layer(second).tanh()
        return self.head(second) + self.factor * first.sum(-1, keepdim=True)


def test_only_what_moves_the_output_counts_as_seen() -> None:
    torch.manual_seed(0)
    net = Silent(torch.tanh, set()).double()
    x = torch.randn(2, 12).double()
    analysis = analyse(net, x, validate=False)
    names = {group.name for group in analysis.groups}
    assert len(names) == DEPTH - 1
    kept = {name: torch.arange(3, 8).numpy() for name in names}

    def seen(factor: float) -> set[str]:
        small = cut(net, analysis, {name: units.tolist() for name, units in kept.items()})
        small.factor = factor
        sight = Sight(Slicer(analysis), kept, dict(small.named_parameters()))
        found = sight.seen([small(x)], 1e-7, torch.Generator().manual_seed(0))
        assert all(parameter.grad is None for parameter in small.parameters())
        return found

    early = {f"layers.{n}" for n in range(DEPTH // 2)} & names
    assert seen(0.0) == seen(1e-9) == names - early
    assert seen(0.1) == names


def test_a_selector_that_may_share_the_weights_gives_the_same_networks() -> None:
    torch.manual_seed(0)
    net, x = Chain(torch.tanh, set()).eval(), torch.randn(2, 12)
    analysis = analyse(net, x, validate=False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    sharing = Selector(net, analysis, [name for name, _ in net.named_parameters()])
    for kept in ({}, {"layers.2": [0, 3, 7]}, {"layers.4": [1], "layers.5": [2, 3]}, {}):
        small = sharing.select(kept)
        wanted = cut(net, analysis, kept)
        assert torch.equal(small(x), wanted(x))
        assert {n: p.shape for n, p in small.named_parameters()} == {n: p.shape for n, p in wanted.named_parameters()}
        assert small.layers[0].weight.data_ptr() == net.layers[0].weight.data_ptr()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Drifts(Chain):
    """Halves a weight of its own at each run."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            self.head.weight.data.mul_(0.5)
        return super().forward(x)


def test_weights_that_the_forward_writes_to_are_not_shared() -> None:
    """Its dense and its cut copy have run equally often each time that they are compared."""
    net = Drifts(torch.tanh, set())
    before = net.head.weight.clone()
    analyse(net, torch.randn(1, 12))
    assert torch.equal(net.head.weight, before)
    traced = trace(net, Example((torch.zeros(1, 12),), {}))
    assert Shadows(net, Example((torch.zeros(1, 12),), {}), traced)(False).read_only == {
        name for name, _ in net.named_parameters() if name != "head.weight"
    }
