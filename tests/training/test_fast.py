"""What makes many small trainings quick gives what the plain way gives."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autoprune.data import Augmentation, Normalisation, TensorBatches
from autoprune.training import Trainer, TrainSettings
from autoprune.training.epochs import InEpochs, Remembered
from autoprune.training.optimizers import make_optimizer


def batches():
    images = torch.randint(0, 256, (48, 1, 6, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    crop = Augmentation(1, flip=True)
    return TensorBatches(images, torch.arange(48) % 3, 16, Normalisation.of(images), shuffle=True, augment=crop)


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # No bias before BatchNorm: its gradient is rounding alone, which Adam blows up to a step.
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)
        )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_fused_optimisers_take_the_same_steps(optimizer):
    ends = []
    for fused in (False, True):
        settings = TrainSettings(epochs=10, optimizer=optimizer, lr=0.01, bf16=False, clip=1.0, fused=fused)
        trainer = Trainer(net(), batches(), settings)
        assert bool(trainer.optimizer.defaults.get("fused")) == fused
        ends.append(torch.cat([t.flatten().double() for t in trainer.run().state_dict().values()]))
    assert float((ends[0] - ends[1]).abs().max()) < 1e-5
    assert float((ends[1] - torch.cat([t.flatten() for t in net().state_dict().values()])).abs().max()) > 1e-2


def test_weights_that_fused_kernels_would_misread_are_updated_one_by_one():
    settings = TrainSettings(fused=True)
    gaps = nn.Linear(4, 4)
    gaps.weight = nn.Parameter(torch.zeros(4, 8)[:, ::2])
    last = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    for model in (gaps, last, nn.Embedding(4, 4, sparse=True)):
        assert not make_optimizer(model, settings).defaults.get("fused")
    assert make_optimizer(nn.Embedding(4, 4), settings).defaults["fused"]


def test_remembered_epochs_are_those_that_are_drawn():
    plain, known = InEpochs(batches(), 7), Remembered(batches(), 7, epochs=4)
    first = {}
    for epoch in (0, 1, 3, 1, 0):
        for each in (plain, known):
            each.set_epoch(epoch)
        given = list(known)
        assert all(torch.equal(a, b) for one, two in zip(given, plain, strict=True)
                   for a, b in zip(one, two, strict=True))  # fmt: skip
        assert first.setdefault(epoch, given[0][0]) is given[0][0]  # drawn once
    assert len(known) == 3


def test_what_is_too_large_or_draws_by_itself_is_not_remembered():
    small = Remembered(batches(), 0, epochs=4, most=4 * 48 * 36 * 4)
    own = Remembered(DataLoader(TensorDataset(torch.randn(8, 2), torch.zeros(8)), batch_size=4), 0, epochs=4)
    for each in (small, own):
        each.set_epoch(0)
        one, other = next(iter(each)), next(iter(each))
        assert one[0] is not other[0] and torch.equal(one[0], other[0])


def test_training_on_remembered_epochs_changes_nothing():
    known, settings = Remembered(batches(), 5, epochs=3), TrainSettings(epochs=3, bf16=False)
    ends = [Trainer(net(), given, settings).run().state_dict() for given in (InEpochs(batches(), 5), known, known)]
    for other in ends[1:]:
        assert all(torch.equal(a, b) for a, b in zip(ends[0].values(), other.values(), strict=True))
