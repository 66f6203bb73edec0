"""An example input as the call that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autoprune.foundations.examples import require_example

__all__ = ["Example", "as_example", "described", "open_batch"]


@dataclass(frozen=True)
class Example:
    """An example input as the call ``model(*args, **kwargs)``."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def tensors(self) -> list[torch.Tensor]:
        """The tensors among the arguments."""
        leaves = torch.utils._pytree.tree_leaves((self.args, dict(self.kwargs)))
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]

    @property
    def batch(self) -> int:
        """Samples: the first tensor's first size."""
        return int(self.tensors()[0].shape[0])

    @property
    def plain(self) -> Any:
        """The tensor itself where the call is of one tensor alone, else the example."""
        single = len(self.args) == 1 and not self.kwargs and isinstance(self.args[0], torch.Tensor)
        return self.args[0] if single else self

    def kind(self) -> tuple[str, ...]:
        """What of it decides an analysis: how it is called, shapes and types of tensors, and all that is none."""
        leaves, spec = torch.utils._pytree.tree_flatten((self.args, dict(self.kwargs)))
        described = (f"{tuple(x.shape)} {x.dtype}" if isinstance(x, torch.Tensor) else repr(x) for x in leaves)
        return (repr(spec), *described)

    def map(self, change: Any) -> Example:
        """The example with ``change`` applied to each tensor."""
        tree = torch.utils._pytree.tree_map_only(torch.Tensor, change, (self.args, dict(self.kwargs)))
        return Example(tree[0], tree[1])

    def copied(self) -> Example:
        """The example with tensors and containers of its own."""
        return self.map(lambda tensor: tensor.detach().clone().requires_grad_(tensor.requires_grad))

    def run(self, model: Any) -> Any:
        """What a model returns for a copy of the example: a forward may write to what it is given, or pop from it."""
        mine = self.copied()
        return model(*mine.args, **mine.kwargs)

    @property
    def words(self) -> str:
        """For people: `[1, 3, 32, 32] of float32`, several joined by "and"."""
        return " and ".join(
            f"{list(each.shape)} of {str(each.dtype).removeprefix('torch.')}" for each in self.tensors()
        )

    def first(self, count: int) -> Example:
        """The example with its first samples alone; tensors of another first dimension stay."""
        batch = self.batch
        return self.map(lambda tensor: tensor[:count] if tensor.dim() and tensor.shape[0] == batch else tensor)

    def with_batch(self, size: int) -> Example:
        """The example with ``size`` copies of its first sample; tensors of another first dimension stay."""
        tensors = [t for t in self.tensors() if t.dim() > 0]
        if not tensors:
            return self
        batch = tensors[0].shape[0]

        def resize(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.dim() == 0 or tensor.shape[0] != batch:
                return tensor
            return tensor[:1].detach().expand(size, *tensor.shape[1:]).contiguous()

        return self.map(resize)


def as_example(example_input: Any) -> Example:
    """A tensor, a tuple of arguments or a mapping of keyword arguments, as one kind of value.

    Raises:
        InputError: If it is none of them, or holds nothing.
    """
    if isinstance(example_input, Example):
        return example_input
    require_example(example_input)
    if isinstance(example_input, Mapping):
        return Example((), dict(example_input))
    if isinstance(example_input, tuple | list):
        return Example(tuple(example_input), {})
    return Example((example_input,), {})


def described(example_input: Any) -> Any:
    """What a policy file says of an example: a tensor's shape; of several inputs shape and type, in order and by name.

    >>> described(torch.zeros(1, 3, 8, 8))
    [1, 3, 8, 8]
    """
    call = as_example(example_input)
    if isinstance(call.plain, torch.Tensor):
        return list(call.plain.shape)
    return {
        "args": [_described(item) for item in call.args],
        "kwargs": {name: _described(item) for name, item in call.kwargs.items()},
    }


def _described(item: Any) -> Any:
    """Shape and type of a tensor; any other value as it is."""
    if not isinstance(item, torch.Tensor):
        return item
    return {"shape": list(item.shape), "dtype": str(item.dtype).removeprefix("torch.")}


def open_batch(call: Example) -> tuple[Any, ...]:
    """The batch dimension left open, as `torch.export` is told: one for every argument, then for every named one."""
    dim = torch.export.Dim("batch")
    size = call.batch

    def opened(item: Any) -> Any:
        if not isinstance(item, torch.Tensor):
            return None
        return {0: dim} if item.dim() and item.shape[0] == size else {}

    return tuple(opened(item) for item in (*call.args, *call.kwargs.values()))
