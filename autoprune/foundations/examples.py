"""Example inputs that a user hands over: refused in one line where no network can be run on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import InputError

__all__ = ["require_example"]


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
