"""Operators in double precision on weights that are stored in their own: half the memory of a proof, or a quarter.

A copy of a large network in double precision is the largest thing that a proof holds. Here each weight stays as the
model stores it, and is cast as an operator reads it; silent units are put to 0 in the cast, not in the weight, so
that nothing has to be kept to put them back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from autoprune.graph.analysis import Index

__all__ = ["Doubled"]

_Places = list[tuple[int, torch.Tensor]]  # dimension, positions along it


class Doubled(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode in which every operator reads doubles.

    What an operator writes to, or gives a view of, keeps its own type; a precision that a forward asks for is double.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._silent: dict[int, tuple[torch.Tensor, _Places]] = {}  # address of a storage -> its weight

    @contextmanager
    def silenced(self, tensors: Mapping[str, torch.Tensor], places: Sequence[tuple[str, int, Index]]) -> Iterator[None]:
        """Read these places of the tensors as 0.

        Args:
            tensors: Qualified name -> weight that nobody writes to, each with a storage of its own.
            places: (tensor, dimension, positions along it); a tensor may come more than once.
        """
        for name, dim, positions in places:
            tensor = tensors[name].detach()
            _, found = self._silent.setdefault(_address(tensor), (tensor, []))
            found.append((dim, torch.from_numpy(positions).to(tensor.device)))
        try:
            yield
        finally:
            self._silent.clear()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        _give_back_memory()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator on doubles."""
        kwargs = kwargs or {}
        gives_gradient = func is torch.ops.aten._to_copy.default and torch._C._current_graph_task_id() != -1
        if gives_gradient or func is torch.ops.aten.view.dtype:  # of its weight's type; bytes read as another type
            return func(*args, **kwargs)
        written = {argument.name for argument in func._schema.arguments if argument.alias_info is not None}
        named = zip(func._schema.arguments, args, strict=False)
        args = [given if argument.name in written else tree_map(self._read, given) for argument, given in named]
        kwargs = {name: given if name in written else tree_map(self._read, given) for name, given in kwargs.items()}
        return func(*args, **kwargs)

    def _read(self, value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return torch.float64 if value.is_floating_point else value
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        silent = self._silent.get(_address(value)) if self._silent else None
        if silent is None:
            return value.double()
        weight, places = silent
        content = torch.empty_strided(weight.shape, weight.stride(), dtype=torch.float64, device=weight.device)
        content.copy_(weight)
        for dim, at in places:
            content.index_fill_(dim, at, 0)
        offset = value.storage_offset() - weight.storage_offset()
        return content.as_strided(value.shape, value.stride(), offset)  # a view of it, maybe


def _give_back_memory() -> None:
    """Of the doubles of this run, which C's allocator would keep, in pieces between what stays."""
    with suppress(OSError, AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
