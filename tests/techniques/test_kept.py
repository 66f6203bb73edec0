"""Patterns of accelerators as decisions: what is offered, what it costs, and that a policy's file rebuilds it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from autoprune.cost.macs import macs_cost
from autoprune.criteria.registry import criterion_of
from autoprune.errors import InputError, PolicyMismatchError
from autoprune.graph import analyse
from autoprune.masks.groups.banks import BankBalanced
from autoprune.space import Policy, SpaceConstraints
from autoprune.techniques.apply import apply
from autoprune.techniques.base import Calibration
from autoprune.techniques.registry import technique_of, techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.stack import Stack
from autoprune.testing.technique import check_technique

KEPT_ONLY = SpaceConstraints(kinds=["kept"])
EXAMPLE = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU(),
        nn.Conv2d(12, 8, 1), nn.Flatten(), nn.Linear(8 * 4, 14), nn.ReLU(), nn.Linear(14, 5),
    ).eval()  # fmt: skip


def stack_of(model: nn.Module, *names: str, **limits: Any) -> Stack:
    analysis, techniques = analyse(model, EXAMPLE), techniques_of(names)
    return Stack(techniques, analysis, space_of(analysis, SpaceConstraints(**limits), techniques=techniques))


def test_options_are_whole_units_of_each_layers_groups_and_what_cannot_says_why() -> None:
    space = stack_of(network(), "kept@pattern=bank:4+keep=0.125/0.25/0.5", kinds=["kept"]).space
    assert {d.name: d.options for d in space.decisions} == {
        "0.weight": (2, 3),  # a third of rows of 9 is less than one weight for each of four banks
        "2.weight": (2, 5, 9, 18),
        "4.weight": (1, 2, 3),
        "6.weight": (1, 2, 4, 8),
        "8.weight": (2, 4),
    }
    columns = stack_of(network(), "kept@pattern=column:4+keep=0.125/0.5", kinds=["kept"]).space
    assert {d.name: d.options for d in columns.decisions} == {
        "0.weight": (1, 2), "2.weight": (2, 3), "4.weight": (1, 2), "6.weight": (2, 4)
    }  # fmt: skip
    assert "5 rows over 4 elements leave each less than 2 weights" in columns.frozen["8.weight"]


@pytest.mark.parametrize(
    "pattern", ["unstructured", "N:4", "2:4/N:2", "4x4", "vector:4", "bank:4", "column:4", "kernel", "filter"]
)
def test_the_technique_keeps_its_contract_under_every_pattern(pattern: str) -> None:
    check_technique(technique_of(f"kept@pattern={pattern}"), network(), EXAMPLE, limits=KEPT_ONLY, policies=2)


def test_multiplications_are_priced_by_the_weights_that_stay() -> None:
    model = network()
    stack = stack_of(model, "kept@pattern=bank:4", kinds=["kept"])
    cost = macs_cost(stack.analysis, stack.space, stack.effects)
    choices = stack.space.random(3).choices
    sparse = stack.apply(model, choices)
    positions = {"0.weight": 36, "2.weight": 4, "4.weight": 4, "6.weight": 1, "8.weight": 1}
    counted = sum(int((sparse.get_parameter(name) != 0).sum()) * times for name, times in positions.items())
    assert cost.cost(choices) == pytest.approx(counted)


def test_a_policy_with_widths_and_patterns_rebuilds_its_network_bit_for_bit(tmp_path) -> None:
    model = network()
    stack = stack_of(model, "structured", "kept@pattern=bank:4", kinds=["channels", "kept"])
    stack = stack.fit(model, Calibration(criterion_of("l1")))
    choices = stack.space.random(7).choices
    stack.policy(choices).save(tmp_path / "policy.json")
    again = apply(model, Policy.load(tmp_path / "policy.json"), EXAMPLE)
    for (name, one), other in zip(stack.apply(model, choices).named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_the_mask_is_the_criterions_and_damage_is_seen() -> None:
    model = network()
    stack = stack_of(model, "kept@pattern=bank:4", kinds=["kept"]).fit(model, Calibration(criterion_of("l1")))
    policy = stack.policy(stack.space.complete({"6.weight": 2}))
    sparse = apply(model, policy, EXAMPLE)
    assert torch.equal(sparse[6].weight != 0, BankBalanced(0.75, 4).mask(model[6].weight.detach().abs()[None])[0])
    part = policy.further[0]
    for payload, message in [
        ({"pattern": "rows", "masks": {}}, "the policy's pattern is none: 'rows'"),
        ({"pattern": "bank:2", "masks": part.payload["masks"]}, "mask of 6.weight is not bank:2"),
    ]:
        damaged = policy.model_copy(update={"further": (part.model_copy(update={"payload": payload}),)})
        with pytest.raises(PolicyMismatchError, match=message):
            apply(model, damaged, EXAMPLE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kept@pattern=rows", "unknown family of patterns 'rows'"),
        ("kept@keep=0.5/1", "write shares above 0 and below 1"),
        ("kept@keep=half", "number"),
    ],
)
def test_settings_that_cannot_be_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        technique_of(text)
