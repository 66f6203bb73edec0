"""What a user's examples and batches hold: inputs and labels; an example that no network can be run on is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import InputError

__all__ = ["LABEL_KEYS", "candidates", "input_tensors", "labels_in", "require_example"]

LABEL_KEYS = ("labels", "label", "label_ids", "targets", "target", "y")
"""Keys of a batch that is a mapping under which what is to be learned lies; no network gets them as its input."""


def require_example(example: Any) -> None:
    """Check that an example is one: tensors, each with something in it.

    Args:
        example: A tensor, a tuple of positional or a mapping of keyword arguments.

    Raises:
        InputError: If there is no tensor in it, an array of another library, or a tensor without values.
    """
    values = example if isinstance(example, tuple | list | Mapping) else (example,)
    leaves = torch.utils._pytree.tree_leaves(dict(values) if isinstance(values, Mapping) else tuple(values))
    for leaf in leaves:
        if not isinstance(leaf, Tensor) and hasattr(leaf, "__array__"):
            kind = f"{type(leaf).__module__}.{type(leaf).__name__}"
            raise InputError(
                f"the example is a {kind}, not a tensor; give torch.from_numpy(...) of it, in float32 as a rule"
            )
        if isinstance(leaf, Tensor) and not leaf.numel():
            raise InputError(f"the example of shape {list(leaf.shape)} holds no image; give one input, (1, ...)")
        if isinstance(leaf, Tensor) and leaf.is_meta:
            raise InputError("the example is on the meta device and holds no values; make it on the CPU")
    if not any(isinstance(leaf, Tensor) for leaf in leaves):
        raise InputError(f"the example is {type(example).__name__}; give a tensor, a tuple of them, or a mapping")


def candidates(batch: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors of a mapping that may be a network's inputs, by key."""
    return {str(key): item for key, item in batch.items() if isinstance(item, Tensor) and key not in LABEL_KEYS}


def input_tensors(batch: Any) -> list[Tensor]:
    """Tensors that a network may be given: the batch, those of its first item, or those of a mapping but labels.

    Empty where the batch is of another form.
    """
    if isinstance(batch, Mapping):
        return list(candidates(batch).values())
    if isinstance(batch, Tensor):
        return [batch]
    if not isinstance(batch, Sequence) or isinstance(batch, str) or not batch:
        return []
    first = batch[0]
    if isinstance(first, Tensor | Mapping):
        return input_tensors(first)
    items = list(first) if isinstance(first, tuple | list) else []
    return items if all(isinstance(item, Tensor) for item in items) else []


def labels_in(batch: Any) -> Tensor | None:
    """What is to be learned, if it is one tensor: a tuple's second item, or what a mapping has under `labels`."""
    found: Any = None
    if isinstance(batch, Mapping):
        found = next((batch[key] for key in LABEL_KEYS if key in batch), None)
    elif isinstance(batch, tuple | list) and len(batch) > 1:
        found = batch[1]
    elif isinstance(batch, tuple | list) and batch and isinstance(batch[0], Mapping):
        found = labels_in(batch[0])
    return found if isinstance(found, Tensor) else None
