"""A fault of each kind, in each object of the user's, at any call: theirs, named, and early where it could be known."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, Dataset

from autoprune.errors import InputError, TargetError
from tests.pipeline import test_whose_fault as user
from tests.pipeline.test_preflight import Told
from tests.pipeline.test_whose_fault import compress, images, net, told

NAN = float("nan")


@dataclass
class Fault:
    """What an object does from its `after`-th call on."""

    kind: str
    after: int
    value: object = None
    calls: int = field(default=0, init=False)

    def __call__(self, right):
        self.calls += 1
        if self.calls <= self.after:
            return right()
        if self.kind == "raise":
            raise LookupError("shelf 9 is empty")
        if self.kind == "exit":
            sys.exit(0)
        return self.value(right) if callable(self.value) else self.value


class Items(Dataset):
    """Images, until the fault."""

    def __init__(self, fault):
        self.held, self.fault = images(), fault

    def __len__(self):
        return len(self.held)

    def __getitem__(self, index):
        return self.fault(lambda: self.held[index])


class Stumbling(nn.Module):
    """A layer whose forward has the fault; a copy of the network shares it."""

    def __init__(self, fault):
        super().__init__()
        self.fault = lambda right: fault(right)

    def forward(self, x):
        return x if torch.compiler.is_exporting() else self.fault(lambda: x)


class Steps(torch.optim.SGD):
    """An optimiser whose steps have the fault."""

    def step(self, closure=None):
        return NAMED["fault"](super().step)


NAMED: dict[str, Any] = {}
"""What the functions below, which settings name, are to do."""


def factory():
    return NAMED["fault"](net)


def data():
    return NAMED["fault"](lambda: tuple(DataLoader(images(), 16) for _ in range(3)))


def optimizer(parameters, lr=0.01, weight_decay=0.0):
    return NAMED["fault"](lambda: torch.optim.SGD(parameters, lr=lr))


def stepping(parameters, lr=0.01, weight_decay=0.0):
    return Steps(parameters, lr=lr)


def trains(model, constraint, epochs):
    return NAMED["fault"](lambda: model)


def diverged(right):
    """The network that was right, with weights that are none."""
    model = right()
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = NAN
    return model


def nan_images(right):
    pixels, label = right()
    return pixels * NAN, label


def nan_loaders(right):
    return tuple([(pixels * NAN, labels) for pixels, labels in loader] for loader in right())


def _target(fault):
    latency = fault.value

    def answer(payloads):
        given = fault(lambda: told(1.0)(payloads))
        return told(given)(payloads) if given is latency and isinstance(latency, float) else given

    user.Odd.answer = staticmethod(answer)
    return {}


@dataclass(frozen=True)
class Object:
    """What a user hands over.

    Attributes:
        hand: The keywords of `compress` that hand it over with a fault.
        named: What the message calls it.
        wrong: What it gives in a wrong form, None and NaN among them.
        early: Whether its first call is tried before anything takes long; else that cannot be known then.
        silent: Wrong forms that mean something else, or nothing, and may pass.
    """

    hand: Callable[[Fault], dict[str, Any]]
    named: str
    wrong: tuple[Any, ...] = ()
    early: bool = True
    silent: tuple[Any, ...] = ()

    @property
    def faults(self) -> list[tuple[str, Any]]:
        return [("raise", None), ("exit", None), *(("wrong form", value) for value in (*self.wrong, *self.silent))]


def _split(part):
    return lambda fault: {part: DataLoader(Items(fault), 16)}


HERE = __name__
ITEMS = (None, (), 7)
OBJECTS = {
    "model factory": Object(
        lambda fault: {"model": f"{HERE}:factory", "data": f"{HERE}:data_that_is_right"},
        f"{HERE}:factory",
        (None, torch.zeros(3), diverged),
    ),
    "data function": Object(
        lambda fault: {"model": f"{HERE}:net_that_is_right", "data": f"{HERE}:data"},
        "",
        (None, 5, (None, None, None), ([], [], []), nan_loaders),
    ),
    "train": Object(_split("train"), "train", ITEMS, silent=(nan_images,)),
    "search": Object(_split("search"), "search", (*ITEMS, nan_images)),
    "test": Object(_split("test"), "test", (*ITEMS, nan_images)),
    "forward": Object(
        lambda fault: {"model": nn.Sequential(*net(), Stumbling(fault))},
        "model",
        (None, "seven"),
        silent=((), lambda right: right() * NAN),
    ),
    "loss": Object(
        lambda fault: {"loss": lambda out, batch: fault(lambda: nn.functional.cross_entropy(out, batch[1]))},
        "loss",
        (None, (1, 2), 0.5, lambda right: right() * NAN),
    ),
    "evaluate": Object(
        lambda fault: {"evaluate": lambda model, batches: fault(lambda: 0.5)}, "evaluate ", (None, (0.5, 1), NAN)
    ),
    "callback": Object(
        lambda fault: {"callbacks": lambda progress, event: fault(lambda: None)}, "the callback ", silent=(None, NAN)
    ),
    "target": Object(_target, "target 'odd'", (None, [], 0.0, NAN)),
    "finetune": Object(
        lambda fault: {"finetune": trains}, "finetune ", (None, 7, nn.Linear(2, 2), diverged), early=False
    ),
    "optimizer": Object(lambda fault: {"optimizer": f"{HERE}:optimizer"}, f"the optimizer {HERE}:optimizer", (None, 7)),
    "optimizer's steps": Object(
        lambda fault: {"optimizer": f"{HERE}:stepping"}, f"the optimizer {HERE}:Steps", silent=(None, NAN)
    ),
}
"""Every kind of object."""


def net_that_is_right():
    return net()


def data_that_is_right():
    return tuple(DataLoader(images(), 16) for _ in range(3))


def play(which, fault):
    """Run a job with the fault; the error that ended it, if one did, and the stages that it came to."""
    thing, talk, before = OBJECTS[which], Told(), user.Odd.answer
    user.Odd.answer = staticmethod(told(1.0))
    NAMED["fault"] = fault
    keywords = thing.hand(fault)
    if "data" in keywords:
        keywords |= {"train": None, "search": None, "test": None, "train_epochs": 1}
    try:
        compress(**keywords, talk=talk)
    except (InputError, TargetError) as error:
        assert isinstance(error, TargetError) == (which == "target"), error
        assert thing.named in str(error).replace("network", "model") or fault.value in thing.silent, error
        assert str(error).count("\n") <= 1
        return error, talk.stages
    finally:
        user.Odd.answer = before
    return None, talk.stages


TABLE = [(which, *fault) for which, thing in OBJECTS.items() for fault in thing.faults]


@pytest.mark.parametrize(("which", "kind", "value"), TABLE, ids=[f"{w}-{k}-{n}" for n, (w, k, _) in enumerate(TABLE)])
def test_a_fault_in_the_first_call_is_theirs_and_said_before_anything_long(which, kind, value):
    thing = OBJECTS[which]
    error, stages = play(which, Fault(kind, 0, value))
    if kind == "wrong form" and any(value is each for each in thing.silent):
        return
    assert error is not None
    if thing.early:
        assert set(stages) <= {"trying everything once", "analysing " + HERE}, stages


class Overflows(nn.Module):
    """Its output is none in evaluation, once a copy was trained; what exporters see is sound."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x):
        if torch.compiler.is_exporting():
            return x
        if self.training:
            self.steps += 1
            return x
        return x * (NAN if self.steps else 1.0)


def test_a_network_that_overflows_once_it_is_fine_tuned_is_not_called_our_fault():
    """It once ended in an error of JSON's when finalists were compared."""
    with pytest.raises(InputError, match=r"no finalist of the network .*Sequential gives finite outputs"):
        compress(nn.Sequential(*net(), Overflows()))


@st.composite
def late_faults(draw):
    which = draw(st.sampled_from(list(OBJECTS)))
    kind, value = draw(st.sampled_from(OBJECTS[which].faults))
    return which, Fault(kind, draw(st.sampled_from([1, 2, 3, 5, 20, 40])), value)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(late_faults())
def test_a_fault_in_any_later_call_is_theirs_too(drawn):
    which, fault = drawn
    error, _ = play(which, fault)
    passes = fault.kind == "wrong form" and any(fault.value is each for each in OBJECTS[which].silent)
    assert error is not None or passes or fault.calls <= fault.after
