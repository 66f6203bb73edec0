"""What a user's own code raises, exits with or returns in a wrong form is said to be theirs, with its place."""

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import autoprune
from autoprune.errors import InputError, TargetError
from autoprune.foundations.user_code import UserCode
from autoprune.hardware import Measurement, get_target
from tests.support.tiny_job import Formula

HERE = Path(__file__).name


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def images(count=32):
    labels = torch.arange(count) % 4
    return TensorDataset(torch.randn(count, 1, 8, 8) + labels[:, None, None, None], labels)


def loader():
    return DataLoader(images(), 16)


def stumbles(*_):
    raise LookupError("shelf 9\nis empty")


def leaves(*_):
    sys.exit(0)


class Gone(Exception):
    """With no text of its own."""


def gone(*_):
    raise Gone


class Late(Dataset):
    """Its items are read well at first."""

    def __init__(self, fault, well=70):
        self.held, self.left, self.fault = images(), well, fault

    def __len__(self):
        return len(self.held)

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            self.fault()
        return self.held[index]


class Odd(Formula):
    """A target whose answer a test chooses."""

    name = "odd"
    answer = staticmethod(lambda payloads: told(1.0)(payloads))

    def time(self, payloads, protocol, progress=None):
        return Odd.answer(payloads)


def compress(model=None, **given):
    settings = {"train": loader(), "search": loader(), "test": loader(), "budget": "flops<=60%", "agent": "random"}
    settings |= {"target": f"{__name__}:Odd", "episodes": 4, "warmup": 1, "finetune_epochs": 1, "finalists": 1}
    return autoprune.compress(net() if model is None else model, **{**settings, **given})


RAISED = [
    (stumbles, r"LookupError: shelf 9 \(\S*{}:\d+\)", LookupError),
    (gone, r"Gone \(\S*{}:\d+\)", Gone),
    (leaves, r"SystemExit: 0 \(\S*{}:\d+\)", SystemExit),
]


@pytest.mark.parametrize(("fault", "words", "cause"), RAISED)
@pytest.mark.parametrize(
    ("given", "named"),
    [
        (lambda fault: {"loss": fault}, "the loss {}:{}"),
        (lambda fault: {"evaluate": fault}, "evaluate {}:{}"),
        (lambda fault: {"train": DataLoader(Late(fault), 16)}, "the train loader (its data set {}:Late)"),
        (lambda fault: {"search": DataLoader(Late(fault, 3), 16)}, "the search loader (its data set {}:Late)"),
        (lambda fault: {"test": DataLoader(Late(fault, 3), 16)}, "the test loader (its data set {}:Late)"),
    ],
)
def test_what_their_code_raises_names_it_and_its_line(given, named, fault, words, cause):
    with pytest.raises(InputError) as raised:
        compress(**given(fault))
    text = str(raised.value)
    assert named.format(__name__, fault.__name__) in text
    assert re.search(words.format(HERE), text), text
    assert isinstance(raised.value.__cause__, cause) and text.count("\n") <= 1


@pytest.mark.parametrize(("fault", "words", "cause"), RAISED)
def test_what_a_target_raises_is_the_targets(monkeypatch, fault, words, cause):
    monkeypatch.setattr(Odd, "answer", staticmethod(fault))
    with pytest.raises(TargetError) as raised:
        compress()
    assert f"target 'odd' ({__name__}:Odd), in time()," in str(raised.value)
    assert re.search(words.format(HERE), str(raised.value)) and isinstance(raised.value.__cause__, cause)


def told(ms):
    return lambda payloads: [Measurement(ms, 0.0, 9, "own", True) for _ in payloads]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda payloads: None, "returned None"),
        (lambda payloads: told(1.0)(payloads)[1:], "returned list of"),
        (lambda payloads: [1.0 for _ in payloads], "returned list of"),
        (told(0.0), "0.0 ms"),
        (told(0), "0 ms"),
        (told(1e-320), "1e-320 ms"),
        (told(float("nan")), "nan ms"),
        (told("2"), "'2' ms"),
        (told(True), "True ms"),
    ],
)
def test_no_target_gets_through_with_nonsense(monkeypatch, answer, said):
    monkeypatch.setattr(Odd, "answer", staticmethod(answer))
    with pytest.raises(TargetError, match=re.escape(f"target 'odd' ({__name__}:Odd)")) as raised:
        compress()
    assert said in str(raised.value)


@pytest.mark.parametrize("value", [None, (0.5, 1), "0.5", float("nan"), float("inf"), torch.zeros(3), 10**400, 1j])
def test_a_score_is_a_finite_number(value):
    def score(model, batches):
        return value

    with pytest.raises(InputError, match=r"evaluate \S+:\S+score returned .*; it must return a finite number"):
        compress(evaluate=score)


@pytest.mark.parametrize("value", [torch.tensor(0.5), torch.tensor([[0.5]]).numpy(), 1, 0.25])
def test_a_score_may_be_a_number_of_any_kind(monkeypatch, value):
    monkeypatch.setattr(Odd, "answer", staticmethod(told(1.0)))
    assert compress(evaluate=lambda model, batches: value, finetune_epochs=0).report["finetuned"]["score"] == value


@pytest.mark.parametrize(
    "value", [None, 0.5, lambda output: (output.sum(), 1), lambda output: output, lambda output: output.sum().detach()]
)
def test_a_loss_is_a_scalar_with_a_gradient(value):
    def loss(output, batch):
        return value(output) if callable(value) else value

    with pytest.raises(InputError, match=r"the loss \S+:\S+loss returned .*; it must return a tensor"):
        compress(loss=loss)


def test_what_a_loaders_worker_process_raised_is_read_out_of_its_text():
    with pytest.raises(InputError, match=rf"raised LookupError: .*\(\S*{HERE}:\d+\)"):
        compress(train=DataLoader(Late(stumbles, 3), 16, num_workers=1))


def test_a_score_is_given_the_loader_that_was_handed_over(monkeypatch):
    monkeypatch.setattr(Odd, "answer", staticmethod(told(1.0)))
    test, seen = loader(), []

    def score(model, batches):
        seen.append(batches)
        return 0.5

    compress(test=test, evaluate=score)
    assert any(batches is test for batches in seen)


def test_an_interruption_and_what_is_said_already_pass():
    for passing in (KeyboardInterrupt(), InputError("the shelf is empty"), TargetError("no device")):
        with pytest.raises(type(passing)) as raised, UserCode("the loss x:y"):
            raise passing
        assert raised.value is passing


def test_the_constructor_of_a_target_is_theirs_too():
    class Wrong(Formula):
        def __init__(self, **options):
            stumbles()

    sys.modules[__name__].Wrong = Wrong
    with pytest.raises(TargetError, match=rf"raised LookupError: shelf 9 \(\S*{HERE}"):
        get_target(f"{__name__}:Wrong")
