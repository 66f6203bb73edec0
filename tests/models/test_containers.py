"""Tensors inside a batch or an output are changed; what holds them stays what it is."""

from collections import OrderedDict, UserDict
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from autoprune.models.outputs import in_float32, moved


class Pair(NamedTuple):
    images: Tensor
    labels: Tensor


def test_containers_keep_their_kind() -> None:
    image, label, cpu = torch.zeros(2, 3), torch.arange(2), torch.device("cpu")
    batch = Pair(image, label)
    assert isinstance(moved(batch, cpu), Pair) and moved(batch, cpu).labels is label
    for kind in (dict, OrderedDict, UserDict):
        made = moved(kind(images=image, more=[label, "name"]), cpu)
        assert type(made) is kind and made["more"][1] == "name"
    assert moved(MappingProxyType({"images": image}), cpu) == {"images": image}
    assert [type(moved(kind([image]), cpu)) for kind in (tuple, list)] == [tuple, list]


def test_an_output_of_transformers_is_widened_as_it_is() -> None:
    from transformers.modeling_outputs import ImageClassifierOutput

    given = ImageClassifierOutput(logits=torch.ones(2, 3, dtype=torch.bfloat16), hidden_states=(torch.ones(1),))
    made = in_float32(given)
    assert type(made) is ImageClassifierOutput and made.logits.dtype == made["logits"].dtype == torch.float32
    assert given.logits.dtype == torch.bfloat16 and made.hidden_states[0].dtype == torch.float32
    assert in_float32((torch.ones(1, dtype=torch.float16), torch.arange(2)))[1].dtype == torch.int64


@dataclass(frozen=True)
class Frozen:
    logits: Tensor
    note: str


class Plain:
    def __init__(self, logits: Tensor) -> None:
        self.logits, self.note = logits, "kept"


@pytest.mark.parametrize("kind", [lambda tensor: Frozen(tensor, "kept"), Plain])
def test_objects_that_hold_logits_are_widened_in_a_copy(kind) -> None:
    given = kind(torch.ones(2, dtype=torch.bfloat16))
    made = in_float32(given)
    assert type(made) is type(given) and made.note == "kept"
    assert (made.logits.dtype, given.logits.dtype) == (torch.float32, torch.bfloat16)
