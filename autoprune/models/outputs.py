"""What comes out of a model, for any task: the tensor that counts; batches and outputs with their tensors changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.models.copying import isolated
from autoprune.models.lazy import require_shapes

__all__ = ["in_float32", "moved", "output_of", "with_changed_tensors", "with_tensor_output"]

_HALF = (torch.bfloat16, torch.float16)


def output_of(model_output: Any) -> Tensor:
    """The tensor of a model's output that counts: a tensor itself, else `.logits`, else the first output.

    Raises:
        InputError: If there is no tensor among them.
    """
    found = model_output
    while not isinstance(found, Tensor):
        logits = getattr(found, "logits", None)
        if isinstance(logits, Tensor):
            return logits
        if isinstance(found, Mapping) and found:
            found = found["logits"] if "logits" in found else next(iter(found.values()))
        elif isinstance(found, Sequence) and not isinstance(found, str) and found:
            found = found[0]
        elif is_dataclass(found) and not isinstance(found, type) and fields(found):
            found = getattr(found, fields(found)[0].name)
        else:
            raise InputError(
                f"the model's output is {type(model_output).__name__}, in which no tensor was found; "
                "return a tensor, an object with .logits, or a tuple that begins with one"
            )
    return found


def with_tensor_output(model: nn.Module) -> nn.Module:
    """A copy of a model in evaluation mode whose output is the tensor that counts: what exporters are given.

    Exporters know few kinds of output; a plain dataclass is none of them, and of a dict they keep the first tensor. A
    hook, since a module around the model would change the names of its input and its parameters in what is exported.

    Args:
        model: Any module with an output that `output_of` understands; left as it was.

    Raises:
        UnsupportedModelError: If a lazy layer has not run yet.
    """
    require_shapes(model)
    single = isolated(model).eval()
    single.register_forward_hook(_only_output)
    return single


def _only_output(module: nn.Module, inputs: Any, output: Any) -> Tensor:
    return output_of(output)


def moved(batch: Any, device: torch.device) -> Any:
    """The same batch with all its tensors on a device: those of tuples, lists and mappings too."""
    return with_changed_tensors(batch, lambda tensor: tensor.to(device))


def in_float32(output: Any) -> Any:
    """The same output with its tensors of 16-bit numbers in float32, as mixed precision leaves them."""
    return with_changed_tensors(output, lambda tensor: tensor.float() if tensor.dtype in _HALF else tensor)


def with_changed_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A value of the same kind with its tensors changed; a mapping or tuple keeps the names that its class gives."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        items = {key: with_changed_tensors(item, change) for key, item in value.items()}
        if type(value) is dict or not isinstance(value, MutableMapping):
            return items
        same = copy.copy(value)
        for key, item in items.items():
            same[key] = item  # what `transformers` calls an output has no `update`
        return same
    if isinstance(value, tuple):
        parts = [with_changed_tensors(item, change) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [with_changed_tensors(item, change) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        attributes = {each.name: with_changed_tensors(getattr(value, each.name), change) for each in fields(value)}
        return _with(value, attributes)
    if isinstance(getattr(value, "logits", None), Tensor):
        return _with(value, {"logits": change(value.logits)})
    return value


def _with(value: Any, attributes: Mapping[str, Any]) -> Any:
    """A shallow copy with some attributes of its own, frozen or not."""
    same = copy.copy(value)
    for name, item in attributes.items():
        object.__setattr__(same, name, item)
    return same
