"""Networks trained as one end as networks trained alone; masked weights stay zero, a stack that was stopped goes on."""

import pytest
import torch
from torch import nn

from autoprune.data import Normalisation, TensorBatches
from autoprune.errors import InputError
from autoprune.training import Trainer, TrainSettings
from autoprune.training.constraint import Masks
from autoprune.training.epochs import InEpochs
from autoprune.training.stacked import Member, StackedTrainer, why_not_stacked


class Small(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm = nn.Conv2d(1, 3, 3), nn.LayerNorm(12)
        self.fc1, self.fc2 = nn.Linear(108, 12), nn.Linear(12, 4)

    def forward(self, x):
        x = torch.flatten(torch.relu(self.conv(x)), 1)
        return self.fc2(torch.relu(self.norm(self.fc1(x))))


def images():
    draw = torch.Generator().manual_seed(7)
    pixels = torch.randint(0, 256, (96, 1, 8, 8), generator=draw, dtype=torch.uint8)
    labels = torch.randint(0, 4, (96,), generator=draw)
    return TensorBatches(pixels, labels, 16, Normalisation((0.5,), (0.3,)), shuffle=True)


IMAGES = images()  # the seeds of a study read one data set, each in an order of its own


def batches(seed):
    return InEpochs(IMAGES, first=100 * seed)


def masks_of(network, seed):
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.rand(p.shape, generator=draw) < 0.4 for name, p in network.named_parameters() if p.ndim > 1}


def settings(**own):
    return TrainSettings(**({"epochs": 17, "distil_weight": 0.0, "bf16": False, "fused": True, "lr": 0.02} | own))


def members(count=3):
    shared = batches(1)
    made = [Small(seed) for seed in range(count)]
    return [Member(one, masks_of(one, seed), shared if seed else batches(0)) for seed, one in enumerate(made)]


@pytest.mark.parametrize("own", [{}, {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.05, "clip": 0.5}])
def test_a_stack_ends_as_networks_alone(own):
    """102 steps, of them the first 4 skipped; the third network has other images than the first."""
    stack = StackedTrainer(members(), settings(**own), start_step=4, keep_at=10)
    stack.run(99)
    for seed, member in enumerate(stack.members):
        alone = Small(seed)
        given = {"constraint": Masks(masks_of(alone, seed)), "start_step": 4, "keep_at": 10}
        trainer = Trainer(alone, batches(min(seed, 1)), settings(**own), **given)
        trainer.run()
        moved = 0.0
        for name, tensor in alone.state_dict().items():
            assert torch.allclose(member.network.state_dict()[name], tensor, atol=1e-5), name
            assert torch.allclose(stack.kept[seed][name], trainer.kept[name], atol=1e-5), name
            moved += float((tensor - Small(seed).state_dict()[name]).abs().sum())
        assert moved > 1
        for name, mask in member.masks.items():
            assert bool((member.network.get_parameter(name)[~mask] == 0).all())


def test_a_stack_that_was_stopped_ends_as_a_whole_one():
    whole = StackedTrainer(members(2), settings(epochs=4))
    whole.run(4)
    first = StackedTrainer(members(2), settings(epochs=4))
    first.run(2)
    state = first.state_dict()
    first.run(1)  # changes nothing of the state
    other = StackedTrainer(members(2), settings(epochs=4))
    other.load_state_dict(state)
    other.run(9)
    assert other.epoch == whole.epoch == 4
    for one, same in zip(other.members, whole.members, strict=True):
        assert all(map(torch.equal, one.network.state_dict().values(), same.network.state_dict().values()))


class Dropping(Small):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5, self.training)


class Branching(Small):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


@pytest.mark.parametrize(
    ("network", "own", "why"),
    [
        (Small(), {"ema": 0.9}, "averages weights"),
        (Small(), {"optimizer": "torch.optim:SGD"}, "one of your own"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4)), {}, "statistics"),
        (Dropping(), {}, "vmap cannot run it"),
        (Branching(), {}, "vmap cannot run it"),
        (nn.Sequential(nn.Conv2d(1, 4, 3)), {}, "vmap cannot run it: its output is no tensor"),
    ],
)
def test_what_cannot_be_stacked_says_why(network, own, why):
    assert why in why_not_stacked(network, torch.zeros(1, 1, 8, 8), settings(**own))
    assert why_not_stacked(Small(), torch.zeros(1, 1, 8, 8), settings()) is None


def test_a_stack_that_diverges_is_stopped():
    with pytest.raises(InputError, match=r"the training loss is \w+ in epoch 1, step \d"):
        StackedTrainer(members(2), settings(lr=1e30)).run(1)
