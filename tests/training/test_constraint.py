"""A constraint is kept by every step, and by what the optimiser remembers."""

import pytest
import torch
from torch import nn

from autoprune.training import Trainer, TrainSettings
from autoprune.training.constraint import Masks, Together


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.fixture
def batches():
    torch.manual_seed(1)
    return [(torch.randn(8, 6), torch.arange(8) % 3) for _ in range(4)]


def test_masked_weights_stay_zero_and_the_others_learn(net, batches):
    mask = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) > 0.5
    before = net[0].weight.detach().clone()
    trainer = Trainer(net, batches, TrainSettings(epochs=2, bf16=False), constraint=Masks({"0.weight": mask}))
    trainer.run(1)
    kept = trainer.optimizer.state[net[0].weight]["momentum_buffer"]
    assert not net[0].weight[~mask].any() and not kept[~mask].any()
    assert kept[mask].all() and (net[0].weight[mask] != before[mask]).all()
    trainer.run()
    assert not net[0].weight[~mask].any()


def test_without_a_step_the_constraint_holds_too(net, batches):
    free = Masks({"0.weight": torch.zeros(5, 6, dtype=torch.bool)})
    Trainer(net, batches, TrainSettings(epochs=0), constraint=Together([free])).run()
    assert not net[0].weight.any()


def test_a_constraint_that_allows_everything_changes_nothing(net, batches):
    import copy

    other = copy.deepcopy(net)
    Trainer(net, batches, TrainSettings(epochs=1, bf16=False)).run()
    free = Masks({"0.weight": torch.ones(5, 6, dtype=torch.bool)})
    Trainer(other, batches, TrainSettings(epochs=1, bf16=False), constraint=free).run()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
