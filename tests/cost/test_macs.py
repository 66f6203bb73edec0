"""Multiply-accumulates of a policy equal those that hooks count on the network that is really cut."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from autoprune.cost.macs import macs_cost
from autoprune.graph import analyse, cut
from autoprune.models import ZOO
from autoprune.space import Decision, SearchSpace


def space_of_quarters(analysis) -> SearchSpace:
    """Every group a decision with a quarter, half, three quarters and all of its units."""
    return SearchSpace(
        tuple(
            Decision(g.name, g.width, tuple(sorted({max(1, g.width * k // 4) for k in (1, 2, 3, 4)})))
            for g in analysis.groups
        )
    )


def counted_by_hooks(model: nn.Module, x: torch.Tensor) -> int:
    """Multiply-accumulates while the network runs, from tensors' sizes alone."""
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        model.eval()(x)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize(("name", "width"), [("resnet20", 0.5), ("mobilenet_v2", 0.25), ("vgg16_bn", 0.125)])
def test_equal_to_a_count_on_the_cut_network(name, width) -> None:
    model, x = ZOO[name](in_channels=3, width=width), torch.zeros(1, 3, 32, 32)
    analysis = analyse(model, x, validate=False)
    space = space_of_quarters(analysis)
    cost = macs_cost(analysis, space)
    assert cost.dense == counted_by_hooks(model, x) == analysis.macs()
    for seed in range(3):
        choices = space.random(seed).choices
        small = cut(model, analysis, {name: range(kept) for name, kept in choices.items()})
        assert cost.cost(choices) == counted_by_hooks(small, x)


def test_groups_that_are_no_decisions_stay_dense() -> None:
    model, x = ZOO["resnet20"](width=0.5), torch.zeros(1, 3, 32, 32)
    analysis = analyse(model, x, validate=False)
    whole = space_of_quarters(analysis)
    part = SearchSpace(whole.decisions[1:4])
    choices = {d.name: d.options[0] for d in part.decisions}
    assert macs_cost(analysis, part).cost(choices) == macs_cost(analysis, whole).cost(choices)


def test_prices_are_vectorised_and_pickle() -> None:
    analysis = analyse(ZOO["resnet20"](width=0.5), torch.zeros(1, 3, 32, 32), validate=False)
    space = space_of_quarters(analysis)
    cost = pickle.loads(pickle.dumps(macs_cost(analysis, space)))
    policies = [space.random(seed).choices for seed in range(20)]
    indices = np.stack([space.indices(choices) for choices in policies])
    assert cost.costs(indices).tolist() == [analysis.macs(choices) for choices in policies]


def test_mobilenet_v1_as_published() -> None:
    model = ZOO["mobilenet_v1"](in_channels=3, classes=1000)
    if counted_by_hooks(model, torch.zeros(1, 3, 224, 224)) < 500e6:
        pytest.skip("the zoo's MobileNetV1 begins with another stride: it is the CIFAR form")
    analysis = analyse(model, torch.zeros(1, 3, 224, 224), validate=False)
    assert macs_cost(analysis, space_of_quarters(analysis)).dense == pytest.approx(568.74e6, rel=1e-4)
