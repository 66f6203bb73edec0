"""The trainer: exact repetition, exact resumption, and what it must leave alone."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from autoprune.data import Augmentation, Normalisation, TensorBatches
from autoprune.errors import InputError
from autoprune.evaluation import accuracy
from autoprune.training import EpochResult, Trainer, TrainSettings, share_of_peak, train


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 3),
        )


def batches(seed: int = 0, *, augment: bool = True) -> TensorBatches:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(48) % 3
    images = torch.randint(0, 60, (48, 1, 6, 6), generator=generator, dtype=torch.uint8)
    for label in range(3):  # a bright row tells the class
        images[labels == label, :, 2 * label] += 150
    crop = Augmentation(1, flip=True) if augment else None
    return TensorBatches(images, labels, 16, Normalisation.of(images), shuffle=True, augment=crop, seed=seed)


SETTINGS = TrainSettings(epochs=4, lr=0.05, bf16=False)


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("bf16", [False, True])
def test_two_trainings_of_one_seed_are_identical(bf16: bool) -> None:
    settings = TrainSettings(epochs=2, bf16=bf16)
    before = torch.get_rng_state()
    first, again = (train(net(), batches(), settings=settings, teacher=net(3)) for _ in range(2))
    assert same(first, again)
    assert torch.equal(before, torch.get_rng_state())  # dropout drew from a stream of its own
    other = train(net(), batches(), settings=TrainSettings(epochs=2, bf16=bf16, seed=1), teacher=net(3))
    assert not same(first, other)  # by dropout alone


def torch_loader() -> DataLoader:
    images, labels = next(iter(batches(augment=False)))
    return DataLoader(TensorDataset(images, labels), batch_size=4, shuffle=True)


@pytest.mark.parametrize("stop", [1, 3])
@pytest.mark.parametrize("loader", [batches, torch_loader])
def test_resumed_is_uninterrupted(tmp_path: Path, stop: int, loader) -> None:
    whole = train(net(), loader(), settings=SETTINGS)
    torch.rand(3)  # the global generator stands elsewhere by then
    first = Trainer(net(), loader(), SETTINGS)
    first.run(stop)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    first.run()  # the saved state must be a copy
    second = Trainer(net(seed=9), loader(), SETTINGS)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.epoch == stop
    assert same(second.run(), whole)
    assert same(first.model, whole)


def test_a_state_of_another_model_is_refused() -> None:
    state = Trainer(net(), batches(), SETTINGS).state_dict()
    with pytest.raises(InputError, match="does not fit this model"):
        Trainer(nn.Linear(2, 2), batches(), SETTINGS).load_state_dict(state)
    with pytest.raises(InputError, match="does not fit this model"):
        Trainer(net(), batches(), SETTINGS).load_state_dict({"epoch": 1})


def test_one_step_is_nesterovs() -> None:
    # By hand for y = w x with loss (w - 1)^2 / 2, x = 1: two steps of torch's Nesterov form with weight decay.
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 3.0)
    settings = TrainSettings(epochs=2, lr=0.1, momentum=0.9, weight_decay=0.01, warmup_epochs=0, bf16=False)
    batch = (torch.ones(1, 1), torch.ones(1, 1))
    trainer = Trainer(model, [batch], settings, loss=lambda output, batch: ((output - batch[1]) ** 2).sum() / 2)
    weight, velocity = 3.0, 0.0
    for rate in (0.1, 0.05):  # a cosine over two steps
        gradient = (weight - 1) + 0.01 * weight
        velocity = 0.9 * velocity + gradient
        weight -= rate * (gradient + 0.9 * velocity)
        trainer.run(1)
        assert float(model.weight.detach()) == pytest.approx(weight, rel=1e-5)


def test_it_learns_and_reports_every_epoch() -> None:
    model, results = net(), list[EpochResult]()
    assert train(model, batches(), settings=TrainSettings(epochs=12, lr=0.1), on_epoch=results.append) is model
    assert [result.epoch for result in results] == list(range(1, 13))
    assert results[-1].loss < results[0].loss
    assert results[-1].lr < results[3].lr
    assert all(result.seconds > 0 for result in results)
    assert accuracy(model, batches(augment=False)) > 0.9


def test_the_loss_it_reports_is_the_mean_over_the_steps() -> None:
    losses: list[float] = []

    def loss(output: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        value = F.cross_entropy(output, batch[1])
        losses.append(float(value.detach()))
        return value

    results: list[EpochResult] = []
    train(net(), batches(), settings=TrainSettings(epochs=1, bf16=False), loss=loss, on_epoch=results.append)
    assert len(losses) == 3
    assert results[0].loss == pytest.approx(sum(losses) / 3)


def test_distillation_alone_ignores_the_labels_and_reaches_the_teacher() -> None:
    class Shuffled:
        """The same images with labels that mean nothing."""

        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for images, labels in batches(augment=False):
                yield images, torch.zeros_like(labels)

    teacher = train(net(2), batches(augment=False), settings=TrainSettings(epochs=12, lr=0.1))
    before = copy.deepcopy(teacher)
    settings = TrainSettings(epochs=15, lr=0.1, distil_weight=1.0)
    student = train(net(), Shuffled(), settings=settings, teacher=teacher)
    assert accuracy(student, batches(augment=False)) > 0.9
    assert same(teacher, before)
    assert all(parameter.grad is None or before is not None for parameter in teacher.parameters())


def test_modes_and_frozen_parameters_are_left_as_they_were() -> None:
    model, teacher = net(), net(2)
    model.train()
    model[1].eval()
    teacher.train()
    model[0].weight.requires_grad_(False)
    frozen = model[0].weight.clone()
    modes: list[bool] = []
    train(model, batches(), settings=SETTINGS, teacher=teacher, on_epoch=lambda _: modes.append(model[1].training))
    assert torch.equal(model[0].weight, frozen)
    assert model.training and not model[1].training and teacher.training
    assert modes == [False] * 4
    assert int(teacher[1].num_batches_tracked) == 0  # the teacher's own statistics did not move


def test_a_loss_that_is_not_finite_stops_at_its_step() -> None:
    class Poisoned:
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for number, (images, labels) in enumerate(batches()):
                yield (images * float("nan") if number == 1 else images), labels

    model = net()
    with pytest.raises(InputError, match="loss is nan in epoch 1, step 2"):
        train(model, Poisoned(), settings=SETTINGS)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert model.training


def test_nothing_to_train_or_to_learn_from_is_refused() -> None:
    frozen = net().requires_grad_(False)
    with pytest.raises(InputError, match="nothing to train"):
        Trainer(frozen, batches(), SETTINGS)
    with pytest.raises(InputError, match="no training batch"):
        Trainer(net(), [], SETTINGS)
    with pytest.raises(InputError, match="only once"):
        train(net(), (batch for batch in batches()), settings=SETTINGS)


def test_a_loader_without_a_length_is_counted() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for images, labels in batches(augment=False):
                yield from zip(images, labels, strict=True)

    rates: list[float] = []
    settings = TrainSettings(epochs=2, lr=0.1, bf16=False)
    train(
        net(), DataLoader(Stream(), batch_size=16), settings=settings, on_epoch=lambda result: rates.append(result.lr)
    )
    assert rates == [0.1 * share_of_peak(settings, step, 3) for step in (2, 5)]


def test_no_epochs_change_nothing() -> None:
    model = net()
    assert same(train(model, batches(), settings=TrainSettings(epochs=0)), net())


def test_layout_does_not_change_what_is_learned() -> None:
    settings = [TrainSettings(epochs=2, bf16=False, channels_last=layout) for layout in (False, True)]
    first, second = (train(net(), batches(), settings=each) for each in settings)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("loss", [F.huber_loss, F.mse_loss, F.binary_cross_entropy])
def test_an_own_loss_is_given_float32_whatever_the_network_computed_in(loss) -> None:
    targets = torch.rand(48, 3, generator=torch.Generator().manual_seed(2))
    images = torch.rand(48, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    data = list(zip(images.split(16), targets.split(16), strict=True))
    settings = TrainSettings(epochs=1, lr=0.01, bf16=True)
    results: list[EpochResult] = []

    def own(output: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        return loss(output.sigmoid(), batch[1])

    train(net(), data, settings=settings, loss=own, on_epoch=results.append)
    assert len(results) == 1


def plain_net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)
        )


@pytest.mark.parametrize("step", [0, 3, 4, 5, 12])
def test_a_training_that_starts_at_a_step_goes_on_as_one_that_did_that_many(step: int) -> None:
    settings = TrainSettings(epochs=4, lr=0.05, momentum=0.0, bf16=False)  # momentum would be fresh
    whole = Trainer(plain_net(), batches(), settings, keep_at=step)
    whole.run(2)
    resumed = Trainer(plain_net(), batches(), settings, keep_at=step)
    resumed.load_state_dict(whole.state_dict())  # what was kept travels with the state
    whole.run()
    resumed.run()
    assert whole.steps == 12 and resumed.kept is not None
    rewound = plain_net()
    rewound.load_state_dict(resumed.kept)
    rates: list[float] = []
    trainer = Trainer(rewound, batches(), settings, start_step=step)
    trainer.run(on_epoch=lambda result: rates.append(result.lr))
    assert same(rewound, whole.model)
    assert rates == [0.05 * share_of_peak(settings, 3 * epoch + 2, 3) for epoch in range(step // 3, 4)]


def test_a_step_outside_of_the_training_is_refused() -> None:
    for given in ({"start_step": 13}, {"keep_at": 13}, {"start_step": -1}):
        with pytest.raises(InputError, match=r"step -?1.? is none of a training of 12 steps"):
            Trainer(net(), batches(), SETTINGS, **given)
