"""Parameters of a policy equal those of the network that is really cut."""

import pytest
import torch
from torch import nn

from autoprune.cost.params import params_cost
from autoprune.graph import analyse, cut
from autoprune.models import ZOO
from autoprune.space import Decision, SearchSpace


def _space(analysis) -> SearchSpace:
    return SearchSpace(
        tuple(
            Decision(g.name, g.width, tuple(sorted({max(1, g.width * k // 4) for k in (1, 2, 3, 4)})))
            for g in analysis.groups
        )
    )


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("name", "width"), [("plain20", 0.5), ("mobilenet_v2", 0.25)])
def test_equal_to_a_count_on_the_cut_network(name, width) -> None:
    model, x = ZOO[name](in_channels=3, width=width), torch.zeros(1, 3, 32, 32)
    analysis = analyse(model, x, validate=False)
    space = _space(analysis)
    cost = params_cost(analysis, space)
    assert cost.dense == _parameters(model)
    for seed in range(3):
        choices = space.random(seed).choices
        small = cut(model, analysis, {name: range(kept) for name, kept in choices.items()})
        assert cost.cost(choices) == _parameters(small)


class _Tied(nn.Module):
    """One convolution twice, and a parameter that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        self.unread = nn.Parameter(torch.zeros(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.twice(self.twice(self.first(x)).relu()).mean((2, 3)))


def test_shared_parameters_count_once_and_unread_ones_too() -> None:
    model, x = _Tied(), torch.zeros(1, 3, 8, 8)
    analysis = analyse(model, x, validate=False)
    space = _space(analysis)
    cost = params_cost(analysis, space)
    assert cost.dense == _parameters(model)
    choices = {d.name: d.options[0] for d in space.decisions}
    small = cut(model, analysis, {name: range(kept) for name, kept in choices.items()})
    assert cost.cost(choices) == _parameters(small)
