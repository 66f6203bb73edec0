"""AMC's static columns, read off a network, against what was written into it."""

import numpy as np
import torch
from torch import nn

from autoprune.envs import AMC_FEATURES, amc_features
from autoprune.graph import analyse
from autoprune.space import Decision, SearchSpace


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.inner = nn.Conv2d(8, 6, 3, padding=1)
        self.back = nn.Conv2d(6, 8, 1)
        self.hidden = nn.Linear(8 * 4 * 6, 10)
        self.out = nn.Linear(10, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.back(torch.relu(self.inner(x))))
        return self.out(torch.relu(self.hidden(x.flatten(1))))


def test_a_group_shows_its_first_producer():
    analysis = analyse(Net().eval(), torch.zeros(1, 3, 8, 12))
    space = SearchSpace(tuple(Decision(g.name, g.width, (g.width,)) for g in analysis.groups))
    assert space.names == ("stem", "inner", "hidden")  # back is coupled to stem
    expected = [[8, 3, 8, 12, 2, 5], [6, 8, 4, 6, 1, 3], [10, 192, 1, 1, 1, 1]]
    np.testing.assert_array_equal(amc_features(analysis, space), expected)
    assert len(AMC_FEATURES) == 6


def test_a_decision_without_an_operator_shows_zeros():
    analysis = analyse(Net().eval(), torch.zeros(1, 3, 8, 12))
    space = SearchSpace((Decision("stem", 8, (8,)), Decision("elsewhere", 4, (4,))))
    np.testing.assert_array_equal(amc_features(analysis, space)[1], 0)
