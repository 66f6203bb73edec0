"""A constraint is kept by every step, and by what the optimiser remembers."""

import copy
import math

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


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "lr": 0.05, "weight_decay": 1e-2},
        {"optimizer": "adamw", "lr": 1e-2, "weight_decay": 0.1, "ema": 0.99, "clip": 0.5},
        {"optimizer": "torch.optim:Adam", "lr": 1e-2, "weight_decay": 0.1},
    ],
)
def test_nothing_is_revived_in_a_thousand_steps_however_it_is_trained(net, batches, settings, bf16):
    masks = {"0.weight": torch.rand(5, 6) > 0.7, "2.weight": torch.rand(3, 5) > 0.5}
    trainer = Trainer(net, batches, TrainSettings(epochs=250, bf16=bf16, **settings), constraint=Masks(masks))
    trainer.run(125)
    state = trainer.state_dict()
    trainer.load_state_dict(state)
    for _ in range(2):
        parameters = dict(net.named_parameters())
        for name, mask in masks.items():
            assert not parameters[name][~mask].any() and parameters[name][mask].any()
            for kept in trainer.optimizer.state[parameters[name]].values():
                assert kept.shape != mask.shape or not kept[~mask].any()
        trainer.run()


def test_masked_weights_do_not_count_where_gradients_are_clipped(net):
    """Weights that are masked get large gradients here; those that learn are clipped as if these were not there."""
    import copy

    images, labels = torch.randn(8, 6), torch.arange(8) % 3
    images[:, 0] *= 1000.0
    mask = torch.ones(5, 6, dtype=torch.bool)
    mask[:, 0] = False
    settings = TrainSettings(epochs=1, bf16=False, lr=0.1, momentum=0.0, clip=0.1, weight_decay=0.0)
    narrow = copy.deepcopy(net)
    Trainer(net, [(images, labels)], settings, constraint=Masks({"0.weight": mask})).run()
    without = images.clone()
    without[:, 0] = 0.0
    Trainer(narrow, [(without, labels)], settings).run()
    assert torch.allclose(net[0].weight[:, 1:], narrow[0].weight[:, 1:]) and torch.allclose(net[2].bias, narrow[2].bias)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_whatever_is_masked_becomes_zero_as_masked_fill_makes_it(dtype, layout):
    """In every number format and layout; NaN and infinity, too, which a product would keep."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, bias=False).to(dtype).to(memory_format=layout)
    mask = torch.rand(6, 4, 3, 3) > 0.5
    with torch.no_grad():
        conv.weight[0], conv.weight[1], conv.weight[2] = math.nan, math.inf, -0.0
    conv.weight.grad = conv.weight.detach().clone()
    wanted = conv.weight.detach().clone().masked_fill_(~mask, 0)
    masks = Masks({"weight": mask})
    masks.before_step(conv)
    masks.project(conv, torch.optim.SGD(conv.parameters(), lr=0.1))
    for found in (conv.weight.detach(), conv.weight.grad):
        assert torch.equal(found.nan_to_num(7), wanted.nan_to_num(7))
        assert not found[~mask].any() and found.stride() == wanted.stride()


def test_a_large_mask_is_not_kept_twice_and_does_the_same(net, batches, monkeypatch):
    mask = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) > 0.5
    ends = []
    for most in (2**22, 0):
        monkeypatch.setattr("autoprune.training.constraint._AS_WORDS", most)
        masks = Masks({"0.weight": mask})
        trained = Trainer(copy.deepcopy(net), batches, TrainSettings(epochs=2, bf16=False), constraint=masks).run()
        ends.append(trained[0].weight.detach())
        assert len(masks._words) == (1 if most else 0)
    assert torch.equal(*ends)
