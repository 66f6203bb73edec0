"""Which operators a runtime executes, and with which widths."""

from collections import Counter

import pytest
import torch
from torch import nn

from autoprune.graph import Extent, analyse
from autoprune.hardware import get_target
from autoprune.hardware.tables.lowering import priced_operators
from autoprune.hardware.tables.operator import width_values
from autoprune.models import resnet20
from autoprune.space import Decision, SearchSpace


def _operators(model: nn.Module, x: torch.Tensor, target: str, *, only: int | None = None):
    analysis = analyse(model, x, validate=False)
    groups = analysis.groups[:only]
    space = SearchSpace(tuple(Decision(g.name, g.width, tuple(sorted({1, g.width}))) for g in groups))
    return space, priced_operators(analysis, space, int(x.shape[0]), get_target(target).fused)


def test_what_is_fused_costs_nothing() -> None:
    _, fused = _operators(resnet20(), torch.zeros(1, 3, 32, 32), "onnxruntime")
    assert Counter(operator.layer.kind for operator in fused) == {"conv": 21, "pool": 1, "linear": 1}
    _, eager = _operators(resnet20(), torch.zeros(1, 3, 32, 32), "torch")
    assert Counter(operator.layer.kind for operator in eager) == {
        "conv": 21,
        "elementwise": 19 + 9,
        "pool": 1,
        "linear": 1,
    }


def test_a_batch_norm_before_the_convolution_is_executed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    _, operators = _operators(model, torch.zeros(1, 3, 4, 4), "torch")
    assert [operator.layer.kind for operator in operators] == [
        "conv",
        "elementwise",
        "elementwise",
        "elementwise",
        "conv",
    ]


def test_widths_follow_the_decisions_and_macs_agree() -> None:
    x = torch.zeros(2, 3, 32, 32)
    analysis = analyse(resnet20(), x, validate=False)
    space, operators = _operators(resnet20(), x, "onnxruntime")
    choices = space.random(3).choices
    layers = [operator.at(choices) for operator in operators]
    assert sum(layer.macs for layer in layers) == 2 * analysis.macs(choices)
    assert all(layer.batch == 2 for layer in layers)
    for operator in operators:
        small = operator.at(choices)
        assert operator.of_widths(small.inputs, small.outputs) == small


def test_groups_that_are_no_decisions_are_constant() -> None:
    space, operators = _operators(resnet20(), torch.zeros(1, 3, 32, 32), "onnxruntime", only=1)
    assert {name for operator in operators for name in operator.scope} == set(space.names)
    assert operators[-1].inputs == Extent(64, (), 64)


class _Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 4, 1)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.head = nn.Linear(12 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.depthwise(torch.cat([self.a(x), self.b(x)], 1)).flatten(1))


def test_sums_and_flattened_widths() -> None:
    _, operators = _operators(_Concat(), torch.zeros(1, 3, 4, 4), "onnxruntime")
    by_name = {operator.name: operator for operator in operators}
    small = {"a": 1, "b": 4}
    assert by_name["head"].at(small).inputs == 5 * 16 and by_name["head"].layer.inputs == 12 * 16
    depthwise = by_name["depthwise"].at(small)
    assert (depthwise.inputs, depthwise.outputs, depthwise.groups, depthwise.group) == (5, 5, 5, "depthwise")
    assert depthwise.macs == 5 * 16 * 9


def test_a_form_knows_every_value_it_can_take() -> None:
    space = SearchSpace((Decision("a", 8, (2, 8)), Decision("b", 6, (3, 6))))
    assert width_values(Extent(1, (("a", 2), ("b", 1)), 23), space) == (8, 11, 20, 23)


class _Attends(nn.Module):
    """torch's own attention computes on (positions, images, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.up, self.down = nn.Linear(16, 40), nn.Linear(40, 5)

    def forward(self, x):
        y = self.embed(x)
        y = self.attention(y, y, y, need_weights=False)[0]
        return self.down(torch.relu(self.up(y.reshape(-1, 16))).reshape(y.shape[0], y.shape[1], 40))


@pytest.mark.parametrize("length", [7, 8])
@pytest.mark.parametrize("batch", [1, 3])
def test_rows_of_linear_layers_are_counted_wherever_the_batch_stands(length, batch) -> None:
    """By hand: 16 x 6, 4 projections of 16 x 16, 16 x 40 and 40 x 5 multiply-accumulates a position."""
    x = torch.randn(batch, length, 6)
    analysis = analyse(_Attends().eval(), x, validate=False)
    widths = {group.name: group.width for group in analysis.groups}
    linear = sum(op.macs(widths) for op in analysis.ops if op.kind == "linear")
    assert linear == length * (16 * 6 + 4 * 16 * 16 + 16 * 40 + 40 * 5)
    space, operators = _operators(_Attends().eval(), x, "torch")
    layers = [operator.at(space.dense) for operator in operators if operator.layer.kind == "linear"]
    assert sum(layer.macs for layer in layers) == batch * linear
    assert {layer.batch for layer in layers} == {batch * length}
