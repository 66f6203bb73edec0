"""Everything that fails for a user's reasons is said before the search, and trying it changes nothing of theirs."""

import random
import re
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from autoprune.data import from_loaders
from autoprune.errors import AutopruneError, InputError, TargetError
from autoprune.foundations import threads as threads_module
from autoprune.pipeline.preflight.checks import preflight
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.experiment import Experiment
from tests.pipeline import test_whose_fault as user
from tests.pipeline.test_whose_fault import compress, images, loader, net, told


class Told(Reporter):
    """Remembers the stages."""

    def __init__(self):
        self.stages = []
        self.said = []

    def say(self, message):
        self.said.append(message)

    def open_bar(self, what, total):
        self.stages.append(what)
        return super().open_bar(what, total)


def with_labels(change, size=16):
    pixels, labels = images().tensors
    return DataLoader(TensorDataset(pixels, change(labels.clone())), size)


def with_nan_in(name):
    model = net()
    with torch.no_grad():
        model.get_parameter(name).view(-1)[3] = float("nan")
    return model


class Norm(nn.Module):
    """BatchNorm over features: one image is too few to learn from."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.norm, self.head = (
            nn.Linear(64, 16),
            nn.Linear(16, 16),
            nn.BatchNorm1d(16),
            nn.Linear(16, 4),
        )

    def forward(self, x):
        return self.head(self.norm(self.two(self.one(x.flatten(1)).relu())).relu())


class Floats(nn.Module):
    """Takes pixels as whole numbers, too, as many networks do."""

    def forward(self, x):
        return x.float()


class Seen(nn.Module):
    """Remembers how many images it was given in evaluation mode, and takes no fewer than `least`."""

    counts: ClassVar[list[int]] = []  # of all copies

    def __init__(self, least=1):
        super().__init__()
        self.least = least

    def forward(self, x):
        if not self.training:
            Seen.counts.append(len(x))
            if 1 < len(x) < self.least:
                raise ValueError("too few")
        return x


def zeroes(model, batches):
    with torch.no_grad():
        next(model.parameters()).zero_()
    return 0.5


def in_training_mode(model, batches):
    model.train()
    with torch.no_grad():
        for pixels, _ in batches:
            model(pixels)
    return 0.5


def late_nan():
    pixels, labels = images(48).tensors
    pixels = pixels.clone()
    pixels[40] = float("nan")
    return TensorDataset(pixels, labels)


def first_is(value):
    def change(labels):
        labels[3] = value
        return labels

    return change


def of_shape(*shape, dtype=torch.float32):
    return DataLoader(TensorDataset(torch.zeros(8, *shape, dtype=dtype), torch.arange(8) % 4), 4)


def nan_images():
    pixels, labels = images().tensors
    pixels = pixels.clone()
    pixels[1, 0, 2, 2] = float("nan")
    return DataLoader(TensorDataset(pixels, labels), 16)


BROKEN = {
    "NaN weights": (lambda: {"model": with_nan_in("2.weight")}, r"2\.weight has NaN values"),
    "another loss": (lambda: {"loss": nn.CrossEntropyLoss()}, "the loss torch.nn.modules.loss:CrossEntropyLoss raised"),
    "a loop that takes the network alone": (
        lambda: {"finetune": lambda model: model},
        r"finetune \S+ is called with \(model, constraint, epochs\) and does not take them",
    ),
    "a score that prunes": (lambda: {"evaluate": zeroes}, r"evaluate \S+zeroes changes the network .* 0\.weight first"),
    "a score in training mode": (
        lambda: {"model": Norm(), "evaluate": in_training_mode},
        r"in_training_mode changes the network that it scores, norm\.running_mean first",
    ),
    "a late test image of NaN": (lambda: {"test": DataLoader(late_nan(), 8)}, "a test batch has images with values"),
    "a late item of train that fails": (
        lambda: {"train": DataLoader(user.Late(user.stumbles, 20), 16)},
        "the train loader .* raised LookupError",
    ),
    "an infinite loss": (lambda: {"loss": lambda out, _: out.sum() / 0}, "loss of the first training batch is"),
    "a score of nothing": (lambda: {"evaluate": lambda model, batches: None}, "returned None"),
    "no test batches": (lambda: {"test": []}, "the test loader gives no batches"),
    "a label too high in test": (lambda: {"test": with_labels(first_is(4))}, "test label is 4"),
    "a label of -1 in test": (lambda: {"test": with_labels(first_is(-1))}, "test label is -1"),
    "a label of -1 in search": (lambda: {"search": with_labels(first_is(-1))}, "search label is -1"),
    "a label of -1 in train": (lambda: {"train": with_labels(first_is(-1))}, "label is -1"),
    "no labels in test": (lambda: {"test": [(images().tensors[0][:8],)]}, "test batch has no class numbers"),
    "labels of floats in test": (lambda: {"test": with_labels(lambda labels: labels.float())}, "torch.float32"),
    "colour in test": (lambda: {"test": of_shape(3, 8, 8)}, r"on a test batch of shape \[4, 3, 8, 8\]"),
    "doubles in test": (lambda: {"test": of_shape(1, 8, 8, dtype=torch.float64)}, "of float64"),
    "whole numbers in test": (
        lambda: {"model": nn.Sequential(Floats(), *net()), "test": of_shape(1, 8, 8, dtype=torch.uint8)},
        r"the first test batch has inputs of shape \[4, 1, 8, 8\] of uint8, and the example.*\[1, 1, 8, 8\] of float32",
    ),
    "rows in search": (lambda: {"search": of_shape(64)}, r"the first search batch has inputs of shape \[4, 64\]"),
    "NaN images in test": (lambda: {"test": nan_images()}, "test batch has images with values that are not finite"),
    "a last batch of one": (
        lambda: {"model": Norm(), "train": DataLoader(images(33), 16)},
        "holds one image.*drop_last",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_said_before_the_search(name, tmp_path):
    given, said = BROKEN[name]
    talk = Told()
    with pytest.raises(InputError, match=said) as raised:
        compress(**given(), run=tmp_path / "run", talk=talk)
    assert talk.stages == ["trying everything once"] or not talk.stages
    assert not (tmp_path / "run").exists() and "\n" not in str(raised.value)


def test_a_target_that_fails_is_said_before_the_search(monkeypatch):
    monkeypatch.setattr(user.Odd, "answer", staticmethod(user.stumbles))
    talk = Told()
    with pytest.raises(TargetError, match="while trying the target"):
        compress(talk=talk)
    assert talk.stages == ["trying everything once"]


def test_a_disk_that_is_too_small_is_said(monkeypatch, tmp_path):
    from autoprune.pipeline.preflight import storage

    monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 2**20}))
    heavy = net()
    heavy.register_parameter("ballast", nn.Parameter(torch.zeros(2**22)))
    with pytest.raises(InputError, match=rf"{re.escape(str(tmp_path))} has 1 MiB free, and this job writes"):
        compress(heavy, run=tmp_path / "run")


def test_nothing_that_is_handed_over_is_changed():
    class Drawing(nn.Module):
        def forward(self, x):
            return x + 0 * torch.rand(1) * random.random() * np.random.rand()  # noqa: NPY002 - as users write it

    model = nn.Sequential(*net()[:2], nn.BatchNorm2d(8), Drawing(), *net()[2:]).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    own = torch.Generator().manual_seed(5)
    train = DataLoader(images(), 16, shuffle=True, generator=own)
    data = from_loaders(train, DataLoader(images(), 16, shuffle=True), loader())
    task = Task("drawing", model, data, True, loss=lambda out, batch: out.square().mean())
    task.search_parts  # noqa: B018 - read once, before the states are compared
    states = own.get_state(), torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    preflight(task, Experiment.build({"target": f"{user.__name__}:Odd", "flops": "50%"}), Reporter())
    assert torch.equal(own.get_state(), states[0]) and torch.equal(torch.get_rng_state(), states[1])
    assert random.getstate() == states[2] and (np.random.get_state()[1] == states[3]).all()  # noqa: NPY002
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()) and model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("least", "whole"), [(1, False), (40, True)])
def test_a_large_batch_is_tried_on_few_images_unless_the_network_needs_more(least, whole):
    model = nn.Sequential(Seen(least), *net())
    loaders = [DataLoader(images(96), 48) for _ in range(3)]
    task = Task("seen", model, from_loaders(*loaders), True)
    Seen.counts.clear()
    preflight(task, Experiment.build({"target": f"{user.__name__}:Odd", "flops": "50%"}), Reporter())
    assert (max(Seen.counts) == 48) == whole


class Stream(IterableDataset):
    """Items of a source that can be read once, as a socket's."""

    def __init__(self):
        self.source = iter(images())

    def __iter__(self):
        return self.source


def test_a_stream_is_given_back_what_was_tried():
    seen = []

    def score(model, batches):
        seen.append(sum(len(labels) for _, labels in batches))
        return 0.5

    compress(test=DataLoader(Stream(), 8), evaluate=score, finetune_epochs=0)
    assert seen[-1] == 32 or 32 in seen


def test_a_score_that_needs_more_than_one_batch_is_asked_for_the_split():
    def score(model, batches):
        labels = torch.cat([labels for _, labels in batches])
        return float("nan") if len(labels) < 10 else 0.5

    assert compress(evaluate=score, search=DataLoader(images(), 8), test=DataLoader(images(), 8), finetune_epochs=0)


def test_without_a_run_what_is_finished_is_kept_and_named_where_it_ends_badly(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    calls = iter(range(100))

    def late(payloads):  # the first two sessions are the trial's and the search's
        return told(1.0)(payloads) if next(calls) < 1 else user.stumbles()

    monkeypatch.setattr(user.Odd, "answer", staticmethod(late))
    with pytest.raises(AutopruneError, match="resume=True goes on") as raised:
        compress()
    run = re.search(r"what is finished is in (\S+);", str(raised.value))[1]
    monkeypatch.setattr(user.Odd, "answer", staticmethod(told(1.0)))
    assert compress(run=run, resume=True).report["finetuned"]
    fine = {path.name for path in tmp_path.iterdir()}
    assert compress() and {path.name for path in tmp_path.iterdir()} == fine


def test_the_test_split_is_never_scored_with_labels_or_images_that_are_none():
    pixels, labels = images(48).tensors
    late = pixels.clone()
    late[40] = float("nan")
    for test, said in (
        (DataLoader(TensorDataset(pixels, torch.cat([labels[:40], labels[40:] - 9])), 16), "a label is -9"),
        (DataLoader(TensorDataset(late, labels), 16), "not finite"),
    ):
        with pytest.raises(InputError, match=said):
            compress(test=test, finetune_epochs=0)


@pytest.mark.parametrize(
    ("busy", "threads", "fewer"), [(0.1, 4, None), (1.0, 4, 3), (1.0, 3, None), (3.9, 2, 1), (4, 1, None)]
)
def test_threads_that_have_no_core_of_their_own_are_reported(busy, threads, fewer, monkeypatch, tmp_path):
    """A hundredth of a second is a tick; of four cores so many work while we look."""
    ticks = tmp_path / "stat"

    def write(worked, idle):
        four = "".join(f"cpu{core} {worked // 4} 0 7 {idle // 4} 5 0 0 0 0 0\n" for core in (2, 3, 5, 7))
        ticks.write_text(f"cpu  1 2 3 4 5 6 7 8 9 10\n{four}cpu4 1 2 3 4 5 6 7 8 9 10\n")

    write(1000, 2000)
    monkeypatch.setattr(threads_module, "_TICKS", ticks)
    monkeypatch.setattr(threads_module.os, "sched_getaffinity", lambda process: {2, 3, 5, 7}, raising=False)
    monkeypatch.setattr(
        threads_module.time, "sleep", lambda seconds: write(1000 + round(100 * busy), 2000 + round(100 * (4 - busy)))
    )
    reporter = Told()
    model = net()
    task = Task("net", model, from_loaders(loader(), loader(), loader()), True)
    with threads_module.use_threads(threads):
        preflight(task, Experiment.build({"target": f"{user.__name__}:Odd", "flops": "50%"}), reporter)
    assert [f"--train-threads {fewer} " in sentence for sentence in reporter.said] == [True] * (fewer is not None)


def test_a_system_that_does_not_say_who_works_is_no_fault(monkeypatch, tmp_path):
    monkeypatch.setattr(threads_module, "_TICKS", tmp_path / "none")
    assert threads_module.busy_cores() is None
    with threads_module.use_threads(2):
        assert threads_module.crowded() is None
