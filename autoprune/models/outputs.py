"""What goes into a model and what comes out, for any task: a batch's inputs, the tensor that counts."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError

__all__ = ["inputs_of", "moved", "output_of", "with_tensor_output"]


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
    """
    single = copy.deepcopy(model).eval()
    single.register_forward_hook(_only_output)
    return single


def _only_output(module: nn.Module, inputs: Any, output: Any) -> Tensor:
    return output_of(output)


def inputs_of(batch: Any) -> Tensor:
    """The model's input in a batch: the batch itself, or the first item of a tuple or list.

    Raises:
        InputError: If that is not a tensor.
    """
    first = batch[0] if isinstance(batch, Sequence) and not isinstance(batch, str) and batch else batch
    if not isinstance(first, Tensor):
        raise InputError(
            f"a batch is {type(batch).__name__} and does not begin with a tensor; "
            "loaders must give (images, labels) or another tuple whose first item is the model's input"
        )
    return first


def moved(batch: Any, device: torch.device) -> Any:
    """The same batch with all its tensors on a device: those of tuples, lists and mappings too."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: moved(item, device) for key, item in batch.items()}
    if isinstance(batch, tuple | list):
        items = [moved(item, device) for item in batch]
        return items if isinstance(batch, list) else tuple(items)
    return batch
