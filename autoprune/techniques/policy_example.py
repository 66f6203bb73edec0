"""The input that a policy was made for, from what it says of its model."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.models import device_of
from autoprune.models.inputs.example import Example, as_example
from autoprune.space import Policy

__all__ = ["as_read_by", "example_of"]

_MOST_NUMBERS = 2**28  # in an example input: one GiB in float32
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}


def example_of(policy: Policy) -> Any:
    """An input of the shape and type that a policy names, or several; None if it names none."""
    content = policy.model.get("example")
    if not isinstance(content, dict):
        return _input(content, policy.model.get("example_dtype", "float32"))
    given = content.get("args"), content.get("kwargs")
    if not isinstance(given[0], list) or not isinstance(given[1], dict):
        return None
    args, kwargs = [_part(item) for item in given[0]], {str(name): _part(item) for name, item in given[1].items()}
    if any(item is None for item in (*args, *kwargs.values())) or not (args or kwargs):
        return None
    return Example(tuple(args), kwargs)


def _part(content: object) -> Tensor | None:
    return _input(content.get("shape"), content.get("dtype")) if isinstance(content, dict) else None


def _input(shape: object, kind: object) -> Tensor | None:
    """A tensor of a shape and type that a file names; None if they are none."""
    if not isinstance(shape, list) or not shape or not all(type(n) is int and n > 0 for n in shape):
        return None
    dtype = _DTYPES.get(str(kind))
    if dtype is None or math.prod(shape) > _MOST_NUMBERS:
        return None
    if dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    return (torch.arange(math.prod(shape)) % 2).reshape(shape).to(dtype)  # ids that differ, as `analyse` wants them


def as_read_by(model: nn.Module, example: Any) -> Any:
    """The example on the model's device, in its floating-point type: a network may have been made double or half."""
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    there, call = device_of(model), as_example(example)
    return call.map(lambda tensor: tensor.to(there, own if tensor.is_floating_point() else tensor.dtype)).plain
