"""A fault of each kind, in each object of the user's, at any call: theirs, named, and early where it could be known."""

import sys
from dataclasses import dataclass, field

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
WRONG = {"loss": (None, (1, 2), 0.5), "evaluate": (None, (0.5, 1), NAN), "target": (None, [], 0.0, NAN)}
"""What an object gives back in a wrong form; of a target numbers are latencies."""


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
        return self.value


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


def handed(which, fault):
    """The object with the fault, as keywords of `compress`."""
    if which == "loss":
        return {"loss": lambda out, batch: fault(lambda: nn.functional.cross_entropy(out, batch[1]))}
    if which == "evaluate":
        return {"evaluate": lambda model, batches: fault(lambda: 0.5)}
    if which == "model":
        return {"model": nn.Sequential(*net(), Stumbling(fault))}
    if which == "target":
        latency = fault.value

        def answer(payloads):
            given = fault(lambda: told(1.0)(payloads))
            return told(given)(payloads) if given is latency and isinstance(latency, float) else given

        user.Odd.answer = staticmethod(answer)
        return {}
    return {which: DataLoader(Items(fault), 16)}


@st.composite
def faults(draw):
    which = draw(st.sampled_from(["loss", "evaluate", "model", "target", "train", "search", "test"]))
    kind = draw(st.sampled_from(["raise", "exit", "wrong form"] if which in WRONG else ["raise", "exit"]))
    value = draw(st.sampled_from(WRONG[which])) if kind == "wrong form" else None
    return which, Fault(kind, draw(st.sampled_from([0, 1, 2, 3, 5, 20, 40])), value)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(faults())
def test_a_fault_of_the_users_is_never_called_ours(drawn):
    which, fault = drawn
    talk, before = Told(), user.Odd.answer
    try:
        compress(**handed(which, fault), talk=talk)
    except (InputError, TargetError) as error:
        assert isinstance(error, TargetError) == (which == "target"), error
        named = {
            "loss": "the loss ",
            "evaluate": "evaluate ",
            "target": "target 'odd'",
            "model": "model",
            "search": "search",
        }
        assert named.get(which, which) in str(error).replace("network", "model"), error
        if not fault.after:
            assert talk.stages in ([], ["trying everything once"]), talk.stages
    else:
        assert fault.calls <= fault.after
    finally:
        user.Odd.answer = before
