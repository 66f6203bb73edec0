"""Distillation of features: which outputs, by hand computation, trained adapters, exact resumption."""

import copy

import pytest
import torch
from torch import nn

import autoprune
from autoprune.models.inputs.example import as_example
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.training import Trainer, TrainSettings
from autoprune.training.ingredients.features import FeatureDistillation, Match, matches
from tests.support.tiny_job import images
from tests.training.test_recipe import QUICK
from tests.training.test_trainer import same


class Block(nn.Module):
    def __init__(self, wide, inner, stride=1):
        super().__init__()
        self.a, self.b = nn.Conv2d(wide, inner, 3, stride, 1), nn.Conv2d(inner, wide, 3, padding=1)
        self.norm, self.stride = nn.BatchNorm2d(wide), stride

    def forward(self, x):
        out = self.norm(self.b(torch.relu(self.a(x))))
        return torch.relu(out + x) if self.stride == 1 else torch.relu(out)


class Net(nn.Module):
    def __init__(self, wide, inner):
        super().__init__()
        self.stem = nn.Conv2d(1, wide, 3, padding=1)
        self.first = nn.Sequential(Block(wide, inner), Block(wide, inner))
        self.down, self.last = Block(wide, inner, 2), Block(wide, inner)
        self.head = nn.Linear(wide, 4)

    def forward(self, x):
        return self.head(self.last(self.down(self.first(self.stem(x)))).mean((2, 3)))


def net(wide=8, inner=6, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net(wide, inner)


X = as_example(torch.zeros(1, 1, 8, 8))
DATA = images(32, 0).tensors
BATCHES = [(DATA[0][:16], DATA[1][:16]), (DATA[0][16:], DATA[1][16:])]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_last_blocks_of_the_stages_are_matched():
    assert matches(net(5, 3), net(), X) == (Match("first", 1, 5, 8), Match("last", 1, 5, 8))
    assert matches(net(8, 3), net(), X) == (Match("first", 1, 8, 8), Match("last", 1, 8, 8))


def test_layers_serve_where_there_are_no_blocks_and_vectors_never():
    def plain(wide):
        pool = nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(nn.Conv2d(1, wide, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(wide, 4))

    assert [match.module for match in matches(plain(3), plain(6), X)] == ["1", "2"]
    vectors = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    assert matches(vectors, vectors, X) == ()


def test_tokens_are_matched_in_their_last_dimension():
    def encoder(wide):
        return nn.Sequential(nn.Sequential(nn.Linear(6, wide), nn.GELU()), nn.Linear(wide, 2), nn.Flatten())

    tokens = as_example(torch.zeros(1, 5, 6))
    assert matches(encoder(3), encoder(7), tokens) == (Match("0", 2, 3, 7),)


def test_the_distance_is_the_mean_of_relative_squares():
    student, teacher = net(5, 3).eval(), net().eval()
    features = FeatureDistillation(student, teacher, matches(student, teacher, X), seed=4)
    with features.watching("student"):
        student(DATA[0])
    with features.watching("teacher"):
        teacher(DATA[0])
    expected = []
    for adapter, stage in zip(features.adapters, ("first", "last"), strict=True):
        own, goal = (DATA[0] for _ in range(2))
        for name in ("stem", "first", "down", "last"):
            own, goal = getattr(student, name)(own), getattr(teacher, name)(goal)
            if name == stage:
                break
        taken = nn.functional.conv2d(own, adapter[:, :, None, None])  # the adapter is a 1x1 convolution
        expected.append(float((((taken - goal) ** 2).sum() / ((taken**2).sum() + (goal**2).sum())).detach()))
    assert features.distance().item() == pytest.approx(sum(expected) / 2, rel=1e-4)
    assert not student.first._forward_hooks and not teacher.first._forward_hooks


def test_equal_networks_are_no_distance_apart_and_need_no_adapter():
    student, teacher = net().eval(), net().eval()
    features = FeatureDistillation(student, teacher, matches(student, teacher, X), seed=0)
    with features.watching("student"), features.watching("teacher"):
        student(DATA[0]), teacher(DATA[0])
    assert features.distance().item() == 0 and not len(features.adapters)


SETTINGS = TrainSettings(epochs=8, lr=0.02, feature_weight=2.0, ema=0.8, mixup=0.3, clip=5.0)


def trainer(seed=1, settings=SETTINGS, **given):
    student, teacher = net(5, 3, seed), net()
    reestimate_batch_norm(teacher, BATCHES)  # as of a network that was trained
    features = FeatureDistillation(student, teacher, matches(student, teacher, X), settings.seed)
    return Trainer(student, BATCHES, settings, teacher=teacher, features=features, **given)


def test_student_and_adapters_come_closer_and_the_teacher_stays():
    alone = TrainSettings(epochs=30, lr=0.2, feature_weight=1.0, distil_weight=0, bf16=False)
    training = trainer(settings=alone, loss=lambda output, batch: 0 * output.sum())
    before, first = copy.deepcopy(training.objective.teacher), [a.detach().clone() for a in training.adapters]
    losses = []
    training.run(on_epoch=lambda result: losses.append(result.loss))
    assert losses[-1] < 0.5 * losses[0]  # of nothing but the features
    assert same(training.objective.teacher, before)
    assert all(not torch.equal(a, b) for a, b in zip(training.adapters, first, strict=True))
    assert training.model.state_dict().keys() == net(5, 3).state_dict().keys()  # adapters are dropped


@pytest.mark.parametrize("stop", [1, 5])
def test_resumed_is_uninterrupted(tmp_path, stop):
    whole = trainer().run()
    first, second = trainer(), trainer(seed=7)
    first.run(stop)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    for adapter in second.adapters:
        nn.init.zeros_(adapter)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(second.run(), whole) and same(first.run(), whole)


def test_a_task_of_an_own_loss_learns_from_features_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = {"loss": "tests.training.test_features:own_loss", "settings": QUICK}
    weights = [
        autoprune.compress(**job, distil_features=weight, run=f"runs/{weight}").model.state_dict()["fc.weight"]
        for weight in (0, 1)
    ]
    assert not torch.equal(*weights)


def own_loss(output, batch):
    return nn.functional.cross_entropy(output, batch[1])
